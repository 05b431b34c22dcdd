"""A comparison from files to files: pair the outlines of slides, read and compare them, write numbers and pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from PIL import Image, ImageDraw, ImageFont

from wsi_idc.annotations.annotation import ROI_CLASSES
from wsi_idc.annotations.formats.qupath import IDC_CLASS
from wsi_idc.base.bootstrap import as_json
from wsi_idc.base.disk.folders import new_folder
from wsi_idc.base.files import replacing, watch
from wsi_idc.base.pages.colours import BOTH, ONLY_FOUND, ONLY_TRUTH
from wsi_idc.base.pages.sheet import GAP, INK, LONGEST_ALONE, TITLE, Panel, draw_scale_bar
from wsi_idc.base.pages.strokes import filled, outlines, stroke
from wsi_idc.base.shown import cells
from wsi_idc.comparison.agreement import (
    FOUND_SHARE,
    STEP_UM,
    PooledAgreement,
    pooled,
)
from wsi_idc.comparison.pairs import ComparedSlide, compare_pair, find_pairs
from wsi_idc.errors import DataError
from wsi_idc.runs.results.folder import outline_files, read_summary
from wsi_idc.runs.results.overview import read_plain

# How much of a picture areas cover, and how pale what lies below them is at its darkest.
_FILL, _PALE = 0.4, 60
# With fewer patients to draw, the percentiles of a bootstrap lie well inside the interval that they stand for.
_FEW = 10
WRITTEN = ("compare.json", "compare.csv", "compare-*.png")
CONVENTIONS = {
    "areas": "of the polygons, exact; where neither side outlines anything, Dice and IoU are 1",
    "distances": f"between boundaries sampled every {STEP_UM:g} um, null where one side has none; the largest and the "
    "95th percentile are the larger of both ways; an ROI's border is no boundary",
    "foci": f"connected parts; found where regions cover {FOUND_SHARE:.0%} of it; a region is false where less than "
    f"{FOUND_SHARE:.0%} of it is true and it covers less of every focus",
    "pooled": "Dice, IoU, sensitivity and PPV of the summed areas, focus_sensitivity of all foci, others means over "
    "the slides on which they are defined; intervals of 95 % from a bootstrap over patients",
}


def compare_slides(
    found: Path,
    truth: Path,
    output: Path | None = None,
    *,
    patients: Path | None = None,
    mpp: float | None = None,
    classes: Collection[str] = (),
    roi_classes: Collection[str] = ROI_CLASSES,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Pair, compare and pool the slides of `found` and `truth`; return what compare.json holds.

    `output`, a new folder, gets it with compare.csv and the pictures. A slide that cannot be compared is listed under
    "failed". Raises DataError where none can be, or where outlines were changed meanwhile, OutputError where the folder
    is not new, nor a comparison to `overwrite`; see `find_pairs` and `compare_pair` for the rest.
    """
    pairs, left_out = find_pairs(found, truth, patients)
    check = watch(*(path for pair in pairs for side in (pair.found, pair.truth) for path in outline_files(side)))
    with new_folder(output, overwrite, WRITTEN) if output else nullcontext() as folder:
        slides, failed = [], []
        for pair in pairs:
            try:
                slides.append(compare_pair(pair, mpp, classes, roi_classes))
            except DataError as error:
                failed.append(str(error))
        if not slides:
            raise DataError(failed[0])
        if not failed:
            _check_known(slides, classes)
        pool = pooled([s.agreement for s in slides], [s.pair.patient for s in slides])
        document = to_document(slides, pool) | {"left_out": left_out, "failed": failed}
        if folder:
            write_comparison(folder, slides, document)
        check()
    return document


def _check_known(slides: Sequence[ComparedSlide], classes: Collection[str]) -> None:
    """Raise DataError where no annotation of any slide has one of the classes, and none is a run that has regions.

    A mistyped one would leave both sides empty, and those agree.
    """
    held = frozenset[str]().union(*(slide.classes for slide in slides))
    known = held | ({IDC_CLASS["name"]} if any(slide.run for slide in slides) else set())
    if held and classes and known.isdisjoint(classes):
        raise DataError(
            f"no outline of any slide is of the class {', '.join(classes)}, only of {', '.join(sorted(held))}; "
            "give the right --class"
        )


def to_document(slides: Sequence[ComparedSlide], pool: PooledAgreement) -> dict[str, Any]:
    """Gather the numbers of compare.json; what is not defined is None."""
    notes = [note for slide in slides for note in slide.notes]
    if pool.patients < _FEW:
        few = f"{pool.patients} patients only: intervals from so few are too narrow"
        notes.append("one patient only: no intervals" if pool.patients == 1 else few)
    found: dict[str, Any] = as_json(
        {
            "slides": [
                {"slide": s.pair.slide, "patient": s.pair.patient, "found": str(s.pair.found)}
                | {"truth": str(s.pair.truth), "mpp": {"x": s.mpp[0], "y": s.mpp[1]}}
                | s.agreement.numbers()
                for s in slides
            ],
            "pooled": {"slides": pool.slides, "patients": pool.patients, **pool.metrics, "froc": pool.froc},
            "notes": notes,
            "conventions": CONVENTIONS,
        }
    )
    return found


def write_comparison(folder: Path, slides: Sequence[ComparedSlide], document: dict[str, Any]) -> None:
    """Write compare.json, compare.csv and a picture of each slide into a folder that exists; raises OutputError."""
    with replacing(folder / "compare.json") as temporary:
        temporary.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    with replacing(folder / "compare.csv") as temporary:
        _write_csv(temporary, document)
    for slide in slides:
        with replacing(folder / f"compare-{slide.pair.slide}.png") as temporary:
            draw_agreement(temporary, slide)


def _write_csv(path: Path, document: dict[str, Any]) -> None:
    """Write a row for each slide, then the pooled one, with the ends of its intervals in columns of their own."""
    slides, pool = document["slides"], document["pooled"]
    metrics = {name: entry for name, entry in pool.items() if isinstance(entry, dict)}
    numbers = [name for name in slides[0] if name not in ("slide", "patient", "found", "truth", "mpp")]
    ends = {f"{name}_{end}": e["ci95"][n] for name, e in metrics.items() for n, end in enumerate(("low", "high"))}
    columns = ["slide", "patient", *dict.fromkeys([*numbers, *metrics]), *ends]
    last = {"slide": "pooled"} | {name: entry["value"] for name, entry in metrics.items()} | ends
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        writer = csv.DictWriter(stream, columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(cells(row) for row in [*slides, last])


def draw_agreement(path: Path, slide: ComparedSlide) -> None:
    """Draw where both sides agree and where they do not, on the picture of the slide where a run has one, as a PNG.

    Without a run the picture shows what is outlined, on white. The same outlines give the same bytes.
    """
    areas, scale = slide.areas, np.array(slide.mpp) / 1000
    background = _background(slide.run)
    drawn = [a for a in (areas.both, areas.only_found, areas.only_truth, areas.roi) if a is not None and not a.is_empty]
    if background:
        corner, extent = np.zeros(2), np.array(background[1])
    else:
        left, top, right, bottom = shapely.total_bounds(drawn) if drawn else (0.0, 0.0, 1.0, 1.0)
        extent = np.array([right - left, bottom - top])
        corner, extent = np.array([left, top]) - 0.05 * extent.max(), extent + 0.1 * extent.max()
    width_mm, height_mm = (extent * scale).tolist()
    layout = Panel.of(width_mm, height_mm, LONGEST_ALONE)
    size = layout.size
    panel = background[0].resize(size) if background else Image.new("RGB", size, "white")
    to_panel = layout.per_mm * scale
    legend = (
        ("both", areas.both, BOTH),
        ("only found", areas.only_found, ONLY_FOUND),
        ("only in truth", areas.only_truth, ONLY_TRUTH),
    )
    for _, area, colour in legend:
        parts = list(shapely.transform(area, lambda xy: xy - corner).geoms)
        panel.paste(colour, (0, 0), filled(parts, to_panel, size).point(lambda v: int(v * _FILL)))
        # What lies below is seen through the fill: its border says where it ends.
        stroke(panel, outlines(parts, to_panel, size, width=1), colour)
    if areas.roi is not None:
        roi = shapely.transform(areas.roi, lambda xy: xy - corner)
        stroke(panel, outlines([roi], to_panel, size), INK)
    sheet = Image.new("RGB", (max(size[0], 760) + 2 * GAP, TITLE + size[1] + 40), "white")
    draw = ImageDraw.Draw(sheet)
    dice = slide.agreement.numbers()["dice"]
    draw.text((GAP, 10), f"{slide.pair.slide}: Dice {dice:.3f}", INK, ImageFont.load_default(17))
    left = float(GAP)
    for name, area, colour in legend:
        text = f"{name} {area.area * scale.prod():.3g} mm2"
        draw.rectangle((left, 40, left + 16, 54), colour, INK)
        draw.text((left + 22, 37), text, INK, ImageFont.load_default(14))
        left += 46 + draw.textlength(text, ImageFont.load_default(14))
    if areas.roi is not None:
        draw.rectangle((left, 40, left + 16, 54), None, INK, 2)
        draw.text((left + 22, 37), "ROI: only this counts", INK, ImageFont.load_default(14))
    sheet.paste(panel, (GAP, TITLE))
    draw.rectangle((GAP - 1, TITLE - 1, GAP + size[0], TITLE + size[1]), outline=INK)
    draw_scale_bar(draw, GAP, TITLE + size[1] + 12, layout)
    sheet.save(path, format="png", compress_level=1)


def _background(run: Path | None) -> tuple[Image.Image, tuple[int, int]] | None:
    """Return the picture of the slide in a run's overview, paler, with its size in level-0 pixels; None without one."""
    plain = read_plain(run) if run else None
    if run is None or plain is None:
        return None
    facts = read_summary(run)["slide"]
    return plain.point(lambda v: _PALE + v * (255 - _PALE) // 255), (facts["width"], facts["height"])
