"""What a model looks at, from Python: in patches, at places of a slide, and in the hits and misses of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsi_idc.api.images import image_patch
from wsi_idc.api.patches import load_model
from wsi_idc.base.shown import printable
from wsi_idc.errors import DataError, MissingExtraError, ModelError, SettingsError
from wsi_idc.explanation.folder import explained_folder, write_document
from wsi_idc.explanation.gradients import Network
from wsi_idc.explanation.occlusion import STRIDE, WINDOW
from wsi_idc.explanation.patch import Subject, explain_patch, what_is_explained
from wsi_idc.explanation.picture import draw_explained
from wsi_idc.explanation.places import read_places
from wsi_idc.explanation.sheets import Shown, write_sheet
from wsi_idc.explanation.surest import draw_surest, is_evaluation, read_evaluation, surest
from wsi_idc.inference.choose import choose_engine, make_engine
from wsi_idc.inference.predictor import Predictor
from wsi_idc.models.package import ModelPackage
from wsi_idc.models.registry import DEFAULT_MODEL

# Looks at a patch, parts of it covered, by which an engine is chosen.
_LOOKS = 500
_WAY_OUT = "say which places of it with --at X,Y, alone on the command line (in Python: at=[(x, y)])"


def explain(
    images: str | Path | Iterable[str | Path],
    output: str | Path,
    *,
    at: Sequence[tuple[float, float]] = (),
    layers: Sequence[str] = (),
    model: str | Path | None = None,
    engine: str = "auto",
    mpp: float | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Show what a model looks at in patches, or `at` places (x, y) of a slide, in level-0 pixels.

    `images` is one slide where `at` is given, and of each place the patch is taken in which it lies; else pictures of
    one patch each. The new folder `output` gets a picture of each patch (occlusion, and with Keras Grad-CAM and feature
    maps of `layers`, by default the ends of the last blocks of the two smallest sizes) and explain.json, which is
    returned. `overwrite` replaces an explanation that is there. Raises DataError, SlideError, ModelError, OutputError,
    SettingsError for a layer that is not there, MissingExtraError where `layers` are given and Keras is missing.

    >>> import wsi_idc
    >>> found = wsi_idc.explain("patch.png", "explained", model="idc-patch")
    >>> found["patches"][0]["picture"], len(found["patches"][0]["occlusion"])
    ('01-patch.png', 50)
    """
    given = [Path(i) for i in ([images] if isinstance(images, str | Path) else images)]
    return explain_patches(
        given, Path(output), load_model(model or DEFAULT_MODEL), at, layers, (engine, mpp), overwrite
    )


def explain_evaluation(
    evaluation: str | Path, output: str | Path, patches: str | Path, *, number: int = 24, overwrite: bool = False
) -> dict[str, Any]:
    """Draw the surest hits and misses of an evaluation as contact sheets; `patches` is the folder that was evaluated.

    The new folder `output` gets a sheet each of true and false positives and negatives, with up to `number` patches,
    the most certain first, and explain.json, which is returned. Raises DataError where the evaluation or the patches
    are not what they were, SettingsError, OutputError, MissingExtraError without the extra `train`.

    >>> import wsi_idc
    >>> _ = wsi_idc.evaluate("patches50", "measured", split="val", model="idc-patch")
    >>> found = wsi_idc.explain_evaluation("measured", "sheets", "patches50")
    >>> [sheet["kind"] for sheet in found["sheets"]]
    ['true positives', 'true negatives', 'false positives', 'false negatives']
    """
    folder = Path(evaluation)
    if not is_evaluation(folder):
        raise DataError(f"{folder}: is not what wsi-idc evaluate leaves; give the folder of its -o")
    if number < 1:
        raise SettingsError(f"number={number}: at least one patch of each kind")
    with explained_folder(Path(output), overwrite) as place:
        read = read_evaluation(folder)
        sheets = draw_surest(place, read, surest(read, Path(patches), number))
        document = {"models": read.models, "threshold": read.threshold, "evaluation": str(folder), "sheets": sheets}
        return write_document(place, document | {"notes": read.notes})


def explain_patches(
    images: Sequence[Path],
    output: Path,
    package: ModelPackage,
    at: Sequence[tuple[float, float]] = (),
    layers: Sequence[str] = (),
    how: tuple[str, float | None] = ("auto", None),
    overwrite: bool = False,
    on_patch: Callable[[], object] | None = None,
) -> dict[str, Any]:
    """Do what `explain` does, with a package; `how` is the engine and the um per pixel that a slide is to have.

    `on_patch` is told as each is done.
    """
    with explained_folder(output, overwrite) as place:
        network, notes = _network(package, layers)
        subjects, doubts = _subjects(images, package, at, how[1])
        name = choose_engine(how[0], package, _LOOKS * len(subjects))
        predictor = Predictor(package, make_engine(name, package))
        about = what_is_explained(package)
        rows = []
        for number, subject in enumerate(subjects, 1):
            done = explain_patch(predictor, network, subject)
            called = "IDC" if done.probability >= package.threshold else "not IDC"
            title = f"{_title(subject)}: {called}, probability {done.probability:.3f}"
            words = (
                f"{package.name} {package.version}, IDC from {package.threshold:g} on; logit {done.logit:+.2f}. "
                f"Explained is {about}. For research use only."
            )
            picture = f"{number:02}-{_stem(subject)}.png"
            draw_explained(place / picture, done, title, words, package.mpp)
            rows.append(done.facts(picture, package.threshold))
            if on_patch:
                on_patch()
        document = {
            "models": [{fact: getattr(package, fact) for fact in ("name", "version", "sha256")}],
            "threshold": package.threshold,
            "engine": name,
            "explained": about,
            "occlusion": {"window_px": WINDOW, "stride_px": STRIDE, "um_per_px": package.mpp},
            "patches": rows,
        }
        return write_document(place, document | {"notes": [*doubts, *notes]})


def _network(package: ModelPackage, layers: Sequence[str]) -> tuple[Network | None, list[str]]:
    """Load what Grad-CAM needs; where nobody asked for layers and it cannot be had, say why in a note."""
    try:
        return Network(package, layers), []
    except (MissingExtraError, ModelError) as error:
        if layers:
            raise
        return None, [f"without Grad-CAM and feature maps: {error}"]


def _subjects(
    images: Sequence[Path], package: ModelPackage, at: Sequence[tuple[float, float]], mpp: float | None
) -> tuple[list[Subject], list[str]]:
    """Read the patches that are to be explained, and say what the user should know of them."""
    if at:
        if len(images) != 1:
            raise SettingsError(f"places are those of one slide, and {len(images)} files were given")
        return read_places(images[0], at, package, mpp)
    if mpp is not None:
        raise SettingsError("mpp is of a slide: say which places of it with --at (in Python: at)")
    subjects = []
    for path in images:
        if path.is_dir():
            raise DataError(
                f"{path}: is a folder that wsi-idc evaluate did not leave; give images, or a slide and --at"
            )
        subjects.append(Subject(str(path), image_patch(path, package, _WAY_OUT)))
    return subjects, []


def _title(subject: Subject) -> str:
    name = Path(subject.source).name
    if subject.place is None:
        return name
    x, y, width, height = subject.place
    return f"{name}, patch of {width:.0f} x {height:.0f} px at {x:.0f}, {y:.0f}"


def _stem(subject: Subject) -> str:
    """Return what a picture is called: the name of the file, as far as it can be one elsewhere too, or the place."""
    if subject.place:
        return f"x{subject.place[0]:.0f}-y{subject.place[1]:.0f}"
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in printable(Path(subject.source).stem))[:60]


def write_prediction_figure(
    path: Path, rows: Sequence[Mapping[str, Any]], package: ModelPackage, threshold: float
) -> None:
    """Draw each image that `predict_images` has a row for, with its prediction, as PNG; raises OutputError."""
    from wsi_idc.api.images import read_image

    shown = []
    for row in rows:
        said = f"{'IDC' if row['idc'] else 'not IDC'}, {row['probability']:.3f}"
        several = f"mean of {row['patches']} patches, largest {row['max_probability']:.3f}"
        lines = (Path(row["image"]).name, said, *((several,) if row["patches"] > 1 else ()))
        shown.append(Shown(read_image(Path(row["image"])), row["idc"], lines))
    count = f"{len(rows)} image{'' if len(rows) == 1 else 's'}"
    below = f"{package.name} {package.version}, IDC from probability {threshold:g} on. For research use only."
    write_sheet(path, f"Probability of IDC of {count}", below, shown)
