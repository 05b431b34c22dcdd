"""Slides and their runs, from Python: many slides, outlines again, fields, and comparisons."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from wsi_idc.annotations.annotation import ROI_CLASSES
from wsi_idc.annotations.write import Style
from wsi_idc.api.conversion import Converted, Form, convert_annotations, convert_run
from wsi_idc.base.setting import takes_settings
from wsi_idc.comparison.report import compare_slides
from wsi_idc.errors import SettingsError
from wsi_idc.grading.fields import Wish
from wsi_idc.grading.report import write_fields
from wsi_idc.models.registry import DEFAULT_MODEL, find_model
from wsi_idc.regions.delineate import Delineation
from wsi_idc.regions.outlining import Outlining
from wsi_idc.runs import batch
from wsi_idc.runs.again import delineate_again
from wsi_idc.runs.executors.executor import Limits
from wsi_idc.runs.settings import Settings

_WISH = Wish()


@takes_settings(Settings)
def segment_slides(
    slides: Iterable[str | Path],
    output: str | Path = "wsi-idc-output",
    *,
    model: str | Path | None = None,
    processes: int = 1,
    time_limit: float | None = None,
    retries: int = 1,
    **settings: Any,
) -> dict[Path, batch.Outcome]:
    """Segment slides into `output/<slide>` and keep `output/manifest.csv`; the Python form of `wsi-idc segment`.

    Several slides are computed in `processes` other processes, each for at most `time_limit` minutes, and begun again
    `retries` times where a process dies; a script that calls this guards its main part by
    `if __name__ == "__main__":`. Returns what became of each slide: a `SegmentResult`, or the `WsiIdcError` that it
    failed with. Raises what concerns them all: ModelError, and SettingsError before anything is begun.

    >>> import wsi_idc
    >>> outcomes = wsi_idc.segment_slides(["slide.tif"], "many", model="idc-patch")
    >>> [(path.name, result.summary["state"]) for path, result in outcomes.items()]
    [('slide.tif', 'done')]
    """
    try:
        limits = Limits(processes, time_limit, retries)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    package = find_model(model or DEFAULT_MODEL)
    wanted = Settings(**settings)
    return batch.segment_slides([Path(s) for s in slides], Path(output), package, wanted, limits=limits)


@takes_settings(Outlining)
def delineate(heatmap: str | Path, output: str | Path, overwrite: bool = False, **settings: Any) -> Delineation:
    """Outline the heatmap of a run again, into the new folder `output`; the Python form of `wsi-idc delineate`.

    What is not given is as it was in the run. Raises DataError where `heatmap` is not one of this tool, OutputError
    where `output` is neither new nor empty, nor a delineation to `overwrite`, SettingsError for what cannot be meant.

    >>> import wsi_idc
    >>> found = wsi_idc.delineate("results/slide/heatmap.zarr", "again", min_area_mm2=0.5)
    >>> all(region.area_mm2 >= 0.5 for region in found.regions)
    True
    """
    return delineate_again(Path(heatmap), Path(output), overwrite, **settings)


def compare(
    found: str | Path,
    truth: str | Path,
    output: str | Path | None = None,
    *,
    patients: str | Path | None = None,
    mpp: float | None = None,
    classes: Collection[str] = (),
    roi_classes: Collection[str] = ROI_CLASSES,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Compare what was found with the truth, or two observers; the Python form of `wsi-idc compare`.

    Each is a file of annotations, the folder of a run or of `delineate`, or a folder of such. Returns what
    compare.json holds: "slides", "pooled", and under "failed" what could not be compared. `overwrite` replaces a
    comparison in `output`. Raises DataError where nothing can be, OutputError.

    >>> import wsi_idc
    >>> agreement = wsi_idc.compare("results/slide", "results/slide/regions.geojson")
    >>> agreement["pooled"]["dice"]["value"]
    1.0
    """
    return compare_slides(
        Path(found),
        Path(truth),
        Path(output) if output else None,
        patients=Path(patients) if patients else None,
        mpp=mpp,
        classes=classes,
        roi_classes=roi_classes,
        overwrite=overwrite,
    )


def fields(
    run: str | Path,
    output: str | Path | None = None,
    *,
    number: int = _WISH.number,
    area_mm2: float = _WISH.area_mm2,
    edge_um: float = _WISH.edge_um,
    slide: str | Path | None = None,
    overwrite: bool = False,
) -> list[dict[str, float]]:
    """Choose the fields of a run most worth grading; the Python form of `wsi-idc fields`.

    Writes crops, fields.csv and fields.geojson into `output`, by default RUN/fields. Returns a row for each field, the
    best first: its corner and size in level-0 pixels, its score and the parts of it. `overwrite` replaces fields that
    are there. Raises DataError, SlideError where the slide is not found (say where with `slide`), OutputError.

    >>> import wsi_idc
    >>> best, *others = wsi_idc.fields("results/slide", "fields", number=3)
    >>> best["score"] >= max(field["score"] for field in others)
    True
    """
    run = Path(run)
    wish = Wish(number, area_mm2, edge_um)
    chosen, _ = write_fields(run, Path(output or run / "fields"), wish, Path(slide) if slide else None, overwrite)
    names = ("x", "y", "width", "height", "score", "tumour", "nuclei", "edge")
    return [{name: getattr(field, name) for name in names} for field in chosen.fields]


def convert(
    source: str | Path,
    target: str | Path,
    *,
    classes: Mapping[str, str] | None = None,
    style: Style = "asap",
    like: str | Path | None = None,
    slide: str | Path | None = None,
    form: Form = "annotations",
    overwrite: bool = False,
) -> Converted:
    """Convert annotations between QuPath, ASAP, ImageScope, tables, OME-Zarr and DICOM, as `wsi-idc convert` does.

    `source` is a file, or the folder of a run; the suffix of `target` says what is written. `classes` renames, ""
    leaves out; `style` ("asap" or "imagescope") says whose XML. A .zarr needs `like`, a run whose grid it takes, a .dcm
    `slide`, the DICOM slide. `form` "tiles" writes the patches of a run, "spatialdata" all of it. Raises DataError, of
    which FormatError is one, OutputError, also where `target` is there and not to `overwrite`, and
    MissingExtraError where a format needs an extra.

    >>> import wsi_idc
    >>> done = wsi_idc.convert("results/slide/regions.geojson", "regions.xml", classes={"IDC": "Tumor"})
    >>> list(done.classes), done.notes
    (['Tumor'], [])
    """
    if form != "annotations":
        if classes or like is not None:
            raise SettingsError(f"{form} have the classes and the grid of the run: leave out classes and like")
        return convert_run(Path(source), Path(target), form, Path(slide) if slide else None, overwrite)
    return convert_annotations(
        Path(source),
        Path(target),
        classes=classes,
        style=style,
        like=Path(like) if like else None,
        slide=Path(slide) if slide else None,
        overwrite=overwrite,
    )
