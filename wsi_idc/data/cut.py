"""Cut new patches, in the layout of the Kaggle set, from a slide that was outlined or corrected by hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from dask.system import CPU_COUNT
from PIL import Image

from wsi_idc.annotations.annotation import ROI_CLASSES, Annotation, is_ignored, is_roi
from wsi_idc.annotations.read import read_annotations
from wsi_idc.base.disk.folders import new_folder
from wsi_idc.base.disk.trouble import output_error
from wsi_idc.base.files import watch
from wsi_idc.base.grid import Block, Grid
from wsi_idc.base.threads import in_parallel
from wsi_idc.data.kaggle import FARTHEST, is_listable, is_patient_folder, patients_in
from wsi_idc.data.scale import mpp_of, same_mpp, state_mpp
from wsi_idc.errors import DataError, OutputError
from wsi_idc.models.package import ModelPackage
from wsi_idc.runs.results.folder import outline_files
from wsi_idc.runs.results.origin import check_slide
from wsi_idc.slides.paths.address import given_name
from wsi_idc.slides.slide import Slide, check_scale
from wsi_idc.tissue.glass import tissue_of

NOT_IDC, IDC, BORDER, BEYOND = 0, 1, 2, 3
# Folders of a patient.
_CLASSES = (str(NOT_IDC), str(IDC))
# Shares are computed from areas in floating point; 40 of 50 columns are 0.8 all the same.
_ROUNDING = 1e-6
# Patches decoded between two reports of progress.
_BATCH = 256
_UNSAFE = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True)
class Rule:
    """How patches are cut and labelled.

    A patch of which at least the share `inside` lies within outlines of the class `name` is IDC, one of which at least
    that share lies outside of them is not, and one between the two is left out, since its label is uncertain. Only what
    was looked at counts as outside: the slide, or where the file has outlines of `roi_classes`, in whatever case they
    are written, what is within these; and never what is outlined as a class that ends in "*", which is neither.
    Patches of which less than `min_tissue` is tissue are left out. With `icc` "apply" the colours are brought to sRGB
    by the profile of the slide, as `segment` has it; `mpp` in um per pixel overrides the slide's claim.
    """

    name: str = "IDC"
    inside: float = 0.8
    min_tissue: float = 0.1
    roi_classes: tuple[str, ...] = ROI_CLASSES
    icc: str = "ignore"
    mpp: float | None = None

    def __post_init__(self) -> None:
        """Refuse shares that cannot be meant, with ValueError, and a class that is neither, with DataError."""
        if is_ignored(self.name):
            raise DataError(
                f"class {self.name!r}: ends in *, which marks what is neither IDC nor not; give it another name with "
                "wsi-idc convert --class OLD=NEW"
            )
        if not 0.5 <= self.inside <= 1:
            raise ValueError(f"inside {self.inside} is not between 0.5 and 1")
        if not 0 < self.min_tissue <= 1:
            raise ValueError(f"min_tissue {self.min_tissue} is not above 0 and at most 1")


@dataclass(frozen=True, slots=True)
class Cut:
    """How many patches were cut into `folder`, that of the patient, and how many with tissue were left out and why.

    `border` are neither inside nor outside enough, `beyond` are not enough within the ROI or the slide, or lie in what
    is neither, `unreadable` cannot be decoded. `notes` are of the annotation file, `warnings` of the slide.
    """

    folder: Path
    idc: int
    not_idc: int
    border: int
    beyond: int
    unreadable: int
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def left_out(self) -> str:
        """Say why patches with tissue were left out, and what gives more."""
        return (
            f"of the patches with tissue, {self.border} are on the border, {self.beyond} outside of what was looked "
            f"at, and {self.unreadable} cannot be decoded; outline more, or lower --inside or --min-tissue"
        )


def cut_patches(
    path: Path,
    annotations: Path,
    output: Path,
    package: ModelPackage,
    *,
    rule: Rule = Rule(),
    patient: str | None = None,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Cut:
    """Cut patches of the size and scale of a model from the slide at `path` into the new folder `output/<patient>`.

    They are those of the grid that the model sees on the slide, as lossless PNGs in Kaggle's layout; x and y of their
    names are 1-based pixels at the model's scale, which `output` states (`data.scale`). `annotations` is a file of
    outlines; `rule` makes labels of them. The patient is by default the name of the slide, `patient_of`.
    The folder appears whole or not at all; `on_progress` is told how many of how many patches are done.

    Raises DataError where the annotations do not fit the slide or the rule, or leave nothing to cut, SlideError for the
    slide, OutputError where the patient has a folder already, not to be overwritten, or others' patches another scale.
    """
    patient = patient_of(path) if patient is None else patient
    _check_patient(patient)
    check = watch(*outline_files(annotations))
    file = read_annotations(annotations, slide=path)
    with Slide(path, rule.mpp, icc=rule.icc) as slide:
        check_slide(annotations, slide, file.origin)
        grid = Grid(slide.size, (slide.mpp.x, slide.mpp.y), package.patch_size, package.mpp)
        check_scale(slide, package)
        _check_names(slide, grid, package)
        inside, looked_at = _areas(file.annotations, rule, slide, annotations)
        folder = output / patient
        _check_free(output, patient, package, overwrite)
        with new_folder(folder, overwrite, _CLASSES) as place:
            tissue = tissue_of(slide, CPU_COUNT)
            wanted = grid.share(tissue.mask, tissue.um) >= rule.min_tissue
            readable = grid.share(tissue.unreadable, tissue.um) == 0
            cells = np.argwhere(wanted & readable)
            labels = label_cells(grid, cells, inside, looked_at, rule)
            notes = [*file.notes, *_others(file.annotations, rule)]
            cut = _counted(folder, labels, int((wanted & ~readable).sum()), notes, slide.warnings + tissue.warnings)
            if not cut.idc + cut.not_idc:
                raise DataError(f"{path}: nothing to cut with {annotations}: {cut.left_out}")
            sure = labels <= IDC
            _write(slide, grid, cells[sure], labels[sure], place, patient, on_progress)
            slide.check_unchanged()
            check()
            _state_scale(output, patient, package)
    return cut


def _counted(folder: Path, labels: np.ndarray, unreadable: int, notes: Sequence[str], warnings: Sequence[str]) -> Cut:
    not_idc, idc, border, beyond = np.bincount(labels, minlength=4).tolist()
    return Cut(folder, idc, not_idc, border, beyond, unreadable, tuple(notes), tuple(warnings))


def patient_of(path: Path) -> str:
    """Name a patient after a slide: its stem, with a hyphen for all that is no letter, digit, point or underscore."""
    stem = given_name(path) if path.is_dir() else path.stem
    return _UNSAFE.sub("-", stem).strip("-.")


def label_cells(
    grid: Grid, cells: np.ndarray, inside: shapely.Geometry, looked_at: shapely.Geometry, rule: Rule
) -> np.ndarray:
    """Label patches by exact areas: `cells` (n, 2) int, as (row, column), to (n,) NOT_IDC, IDC, BORDER or BEYOND.

    `inside` is what was outlined within `looked_at`, both valid and in level-0 pixels.
    """
    corners = cells[:, ::-1]
    low, high = grid.to_level0(corners), grid.to_level0(corners + 1)
    boxes = shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1])
    enough = rule.inside - _ROUNDING
    within, known = _share(boxes, inside), _share(boxes, looked_at)
    labels = np.full(len(cells), BORDER)
    labels[known < enough] = BEYOND
    labels[known - within >= enough] = NOT_IDC
    labels[within >= enough] = IDC
    return labels


def _share(boxes: np.ndarray, area: shapely.Geometry) -> np.ndarray:
    """Return the share of each box (n,) that lies in an area."""
    shares = np.zeros(len(boxes))
    parts, tree = shapely.get_parts(area), shapely.STRtree(boxes)
    # Most boxes lie wholly inside or outside; the exact cut of a box with a long outline is for the others only.
    shares[tree.query(parts, predicate="covers")[1]] = 1
    part, box = tree.query(parts, predicate="intersects")
    cut = shares[box] < 1
    part, box = part[cut], box[cut]
    np.add.at(shares, box, shapely.area(shapely.intersection(boxes[box], parts[part])) / shapely.area(boxes[box]))
    return shares


def _areas(
    annotations: Sequence[Annotation], rule: Rule, slide: Slide, file: Path
) -> tuple[shapely.Geometry, shapely.Geometry]:
    """Return what is outlined as the class within what was looked at, and what was looked at, in level-0 pixels."""
    outlines = [a.geometry for a in annotations if a.classification == rule.name]
    rois = [a.geometry for a in annotations if is_roi(a.classification, rule.roi_classes)]
    neither = [a.geometry for a in annotations if is_ignored(a.classification)]
    # With nothing but a ROI, all in it was looked at and no IDC found; else a class of another name would be no IDC.
    if not outlines and len(rois) < max(1, len(annotations) - len(neither)):
        names = ", ".join(sorted({a.classification or "no class" for a in annotations})) or "nothing"
        raise DataError(
            f"{file}: has no outline of the class {rule.name}, but {names}; name the class with --class, or, where "
            f"there is no {rule.name}, outline only what was looked at, as {', '.join(rule.roi_classes[:1])}"
        )
    whole = shapely.box(0, 0, *slide.size)
    drawn = shapely.union_all([*outlines, *rois, *neither])
    if shapely.intersection(drawn, whole).area < drawn.area / 2:
        width, height = slide.size
        raise DataError(
            f"{file}: most of what it outlines lies outside of {slide.name} ({width}x{height} pixels); give the file "
            "that was drawn on this slide, in pixels of its full resolution"
        )
    looked_at = shapely.intersection(shapely.union_all(rois), whole) if rois else whole
    looked_at = shapely.difference(looked_at, shapely.union_all(neither))
    return shapely.intersection(shapely.union_all(outlines), looked_at), looked_at


def _others(annotations: Sequence[Annotation], rule: Rule) -> list[str]:
    """Say, in one line, which classes were taken for what the class of the rule is not: a name may be misspelt."""
    names = {a.classification or "no class" for a in annotations} - {rule.name}
    others = sorted(name for name in names if not (is_roi(name, rule.roi_classes) or is_ignored(name)))
    return [f"what is outlined as {', '.join(others)} counts as not {rule.name}"] if others else []


def _check_patient(patient: str) -> None:
    """Raise DataError for a patient that cannot be the name of a folder, or not be told from others in a list."""
    if not patient or not is_listable(patient) or patient.startswith(".") or set(patient) & set('/\\:*?"<>|\0'):
        raise DataError(
            f"{patient!r}: cannot name a patient; give --patient of letters, digits, points, hyphens and underscores"
        )


def _check_free(output: Path, patient: str, package: ModelPackage, overwrite: bool) -> None:
    """Raise OutputError where a patient's folder holds something, or that of all holds patches of another scale."""
    folder = output / patient
    try:
        taken = folder.is_dir() and any(folder.iterdir())
        _check_beside(output, patient, package)
    except OSError as error:
        raise output_error(folder, error) from error
    if taken and not overwrite:
        raise OutputError(
            f"{folder}: is not empty, so the patient was cut before; give another --patient or -o, or --overwrite"
        )


def _check_beside(output: Path, patient: str, package: ModelPackage) -> None:
    """Raise OutputError where a folder holds patches of other patients, of another scale than the model's."""
    if not output.is_dir() or same_mpp(mpp := mpp_of(output), package.mpp):
        return
    if any(is_patient_folder(output / other) for other in patients_in(output) - {patient}):
        raise OutputError(
            f"{output}: holds patches at {mpp:g} um/px, and those of the model {package.name} are at {package.mpp:g}; "
            "choose another -o"
        )


def _state_scale(output: Path, patient: str, package: ModelPackage) -> None:
    """State the scale of patches that are about to be there, so that they never lie beside a record of another one."""
    # Looked at once more: cutting took a while.
    _check_beside(output, patient, package)
    state_mpp(output, package.mpp)


def _check_names(slide: Slide, grid: Grid, package: ModelPackage) -> None:
    """Raise DataError where names of patches cannot state their places on a slide."""
    if max(grid.shape) * package.patch_size > FARTHEST:
        raise DataError(
            f"{slide.path}: has more than {FARTHEST} pixels a side at the {package.mpp:g} um/px of the model "
            f"{package.name}, and names of patches go no further; give --model for a coarser scale"
        )


def _write(
    slide: Slide,
    grid: Grid,
    cells: np.ndarray,
    labels: np.ndarray,
    place: Path,
    patient: str,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    """Write the patches at `cells` (n, 2), as (row, column), with their labels (n,), into `place`."""
    size = grid.patch_size
    for label in (NOT_IDC, IDC):
        (place / str(label)).mkdir()

    def write(at: tuple[int, int, int]) -> None:
        row, col, label = at
        pixels = slide.read(*grid.origin(Block(row, col, row + 1, col + 1)), size, size, grid.mpp)
        name = f"{patient}_idx5_x{col * size + 1}_y{row * size + 1}_class{label}.png"
        Image.fromarray(pixels).save(place / str(label) / name)

    todo: list[tuple[int, int, int]] = np.column_stack([cells, labels]).tolist()
    for start in range(0, len(todo), _BATCH):
        batch = todo[start : start + _BATCH]
        in_parallel(write, batch, CPU_COUNT)
        if on_progress:
            on_progress(start + len(batch), len(todo))
