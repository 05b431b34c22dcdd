"""What `wsi-idc fields` leaves of a run: crops at 40x, their places as a table and for QuPath, a contact sheet."""

from __future__ import annotations

import csv
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from PIL import Image, ImageDraw, ImageFont
from shapely import MultiPolygon

from wsi_idc.annotations.annotation import Annotation
from wsi_idc.annotations.formats.qupath import IDC_CLASS, collection, feature
from wsi_idc.annotations.read import read_annotations
from wsi_idc.base.disk.folders import new_folder
from wsi_idc.base.disk.trouble import output_error
from wsi_idc.base.files import watch
from wsi_idc.base.pages.colours import FIELD, IDC, INVASIVE_EDGE
from wsi_idc.base.pages.sheet import Panel, draw_scale_bar
from wsi_idc.base.pages.strokes import number as number_areas
from wsi_idc.base.pages.strokes import outlines, stroke
from wsi_idc.base.polygons import polygons_of
from wsi_idc.errors import SlideError
from wsi_idc.grading.fields import WEIGHTS, FoundFields, GradingField, Segmentation, Wish, find_fields
from wsi_idc.grading.page import add_to_report
from wsi_idc.heatmap.store import read_grid, read_heatmap, read_label, read_provenance
from wsi_idc.regions.interpolate import fine_grid
from wsi_idc.runs.results.folder import outline_files, read_summary
from wsi_idc.runs.results.origin import find_slide, origin_of
from wsi_idc.runs.results.overview import read_plain
from wsi_idc.runs.results.summary import RESEARCH_USE
from wsi_idc.slides.slide import Slide

# 40x in um per pixel. Scanners call 0.2 to 0.27 so; such slides, and coarser ones, are cropped as they are.
FORTY = 0.25
_FINEST = 0.2
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://wsi-idc/fields")
_INK, _PAPER = (30, 30, 30), (225, 225, 230)
WRITTEN = ("fields.geojson", "fields.csv", "contact-sheet.png", "field-*.png")
_COLUMNS = (
    "rank", "x", "y", "width", "height", "area_mm2", "score", "tumour", "nuclei", "edge", "tumour_share",
    "nuclear_share", "crop_mpp", "file",
)  # fmt: skip
# Sides in pixels of a thumbnail and, the longest, of the map; space between them and for words.
_THUMB, _MAP, _GAP, _TITLE, _CAPTION, _BAR = 240, 700, 16, 56, 40, 24
_PER_ROW = 5


def write_fields(
    run: Path, output: Path, wish: Wish, slide: Path | None = None, overwrite: bool = False
) -> tuple[FoundFields, list[str]]:
    """Choose the fields of the slide whose run is in the folder `run`, and write them to `output`, a new folder.

    There are fields.geojson, locked annotations for QuPath; fields.csv, a row for each; field-01.png and so on, the
    crops; contact-sheet.png. With `output` in the folder of the run, report.html there shows them too. `slide` is where
    the slide is now; else it is looked for beside the run, and where manifest.csv says. Returns the fields, and in
    words what the user should know of them.

    Raises DataError where `run` is not such a folder, SlideError where the slide is not found or not that of the run,
    OutputError where `output` cannot be written, or holds something and is not fields to `overwrite`.
    """
    check = watch(*outline_files(run))
    summary = read_summary(run)
    given = summary["parameters"]
    where = slide or find_slide(run)
    with (
        new_folder(output, overwrite, WRITTEN) as place,
        Slide(where, given["mpp"], icc=given.get("icc", "ignore")) as opened,
    ):
        if opened.fingerprint != summary["identity"]["slide_fingerprint"]:
            raise SlideError(f"{opened.path}: is not the slide that {run} was made from; give that one with --slide")
        found = read_segmentation(run)
        chosen = find_fields(opened, found, wish)
        kept, thumbnails = _write_crops(place, opened, chosen.fields)
        chosen = replace(chosen, fields=kept, lost=chosen.lost + len(chosen.fields) - len(kept))
        _write_table(place / "fields.csv", opened, chosen.fields)
        (place / "fields.geojson").write_text(
            fields_geojson(
                chosen,
                json.dumps(summary["identity"], sort_keys=True),
                origin_of(read_provenance(run / "heatmap.zarr")) | {"fields": asdict(wish)},
            ),
            encoding="utf-8",
        )
        _draw_sheet(place / "contact-sheet.png", opened, _plain(run, found), found, chosen, thumbnails)
        notes = _notes(opened, summary, chosen, wish)
        opened.check_unchanged()
        check()
    if output.resolve().parent == run.resolve():
        try:
            add_to_report(run, chosen.fields, thumbnails, summary["slide"]["mpp"]["x"])
        except OSError as error:
            raise output_error(run / "report.html", error) from error
    return chosen, notes


def fields_geojson(chosen: FoundFields, key: str, origin: Mapping[str, Any]) -> str:
    """Write the fields, and the invasive edge where there is one, as locked QuPath annotations, and their origin.

    Coordinates are whole pixels of the full-resolution image as QuPath opens it. Same fields and `key`, same bytes.
    """
    features = []
    for annotation in _annotations(chosen):
        wkb = shapely.to_wkb(annotation.geometry, hex=True, byte_order=1)
        properties = {
            "objectType": "annotation",
            "name": annotation.name,
            "classification": {"name": annotation.classification, "color": list(annotation.color or _INK)},
            "isLocked": annotation.locked,
            "measurements": dict(annotation.measurements),
        }
        identity = str(uuid.uuid5(_NAMESPACE, f"{key}{annotation.classification}{wkb}"))
        features.append(feature(identity, annotation.geometry, properties))
    return collection(features, origin)


def crop_mpp(slide: Slide) -> float:
    """Return the scale of crops in um per pixel: the slide's own at 40x or coarser, else 0.25."""
    own = max(slide.mpp.x, slide.mpp.y)
    return own if own >= _FINEST else FORTY


def _annotations(chosen: FoundFields) -> Iterator[Annotation]:
    for rank, field in enumerate(chosen.fields, 1):
        values = {
            "Rank": rank,
            "Score": field.score,
            "Tumour content": field.tumour,
            "Nuclei": field.nuclei,
            "Edge": field.edge,
            "Tumour share": field.tumour_share,
            "Nuclear share": field.nuclear_share,
            "Area mm2": round(field.area_mm2, 6),
        }
        yield Annotation(_box(field), "Field", f"Field {rank}", FIELD, locked=True, measurements=values)
    if not chosen.edge.is_empty:
        yield Annotation(chosen.edge, "Invasive edge", "Invasive edge", INVASIVE_EDGE, locked=True)


def _box(field: GradingField) -> shapely.Polygon:
    return shapely.box(field.x, field.y, field.x + field.width, field.y + field.height)


def read_segmentation(run: Path) -> Segmentation:
    """Read the heatmap and the regions as they are now: they may have been corrected in QuPath."""
    path = run / "heatmap.zarr"
    heatmap, _ = read_heatmap(path)
    drawn = [a.geometry for a in read_annotations(run).annotations if a.classification == IDC_CLASS["name"]]
    parts = polygons_of(shapely.union_all(drawn))
    grid = read_grid(path)
    tissue = read_label(path, "tissue", fine_grid(grid).shape) > 0
    return Segmentation(heatmap, grid, tissue, MultiPolygon(parts))


def _write_crops(place: Path, slide: Slide, fields: list[GradingField]) -> tuple[list[GradingField], list[Image.Image]]:
    """Write a crop of each field that can be decoded, one after the other; return these fields, and small crops."""
    mpp, thumbnails, kept = crop_mpp(slide), [], []
    for field in fields:
        size = round(field.width * slide.mpp.x / mpp), round(field.height * slide.mpp.y / mpp)
        try:
            image = Image.fromarray(slide.read(field.x, field.y, *size, mpp))
        except SlideError:
            # At a finer scale than that by which it was chosen it lies in other tiles.
            continue
        kept.append(field)
        # Level 1 takes a third of the time of the usual 6, and a tenth more bytes.
        image.save(place / _file_name(len(kept)), compress_level=1)
        thumbnails.append(image.resize((_THUMB, _THUMB), Image.Resampling.BICUBIC, reducing_gap=2.0))
    return kept, thumbnails


def _file_name(rank: int) -> str:
    return f"field-{rank:02}.png"


def _write_table(path: Path, slide: Slide, fields: list[GradingField]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for rank, f in enumerate(fields, 1):
            parts = [f.score, f.tumour, f.nuclei, f.edge, f.tumour_share, f.nuclear_share]
            here = [rank, f.x, f.y, f.width, f.height, round(f.area_mm2, 6)]
            writer.writerow([*here, *parts, round(crop_mpp(slide), 6), _file_name(rank)])


def _notes(slide: Slide, summary: dict[str, Any], chosen: FoundFields, wish: Wish) -> list[str]:
    notes = [*slide.warnings, *filter(None, [summary["message"]])]
    if summary["failed_chunks"]:
        notes.append("the run is incomplete: where patches were not computed there are no fields")
    if chosen.lost:
        notes.append(f"squares that would be candidates but cannot be decoded, and were left out: {chosen.lost}")
    if len(chosen.fields) < wish.number:
        notes.append(
            f"{len(chosen.fields)} of {wish.number} fields: there is no room for more squares of {wish.area_mm2:g} mm2 "
            "that are half IDC and do not overlap"
        )
    if chosen.fields and crop_mpp(slide) > 1.1 * FORTY:
        notes.append(f"the slide is coarser than 40x: crops are at its own {crop_mpp(slide):.4g} um/px")
    if chosen.edge.is_empty:
        notes.append("no invasive edge: no border of IDC lies within the tissue")
    return notes


def _draw_sheet(
    path: Path, slide: Slide, plain: Image.Image, found: Segmentation, chosen: FoundFields, thumbs: list[Image.Image]
) -> None:
    """Draw the slide as a map with the places of the fields, and the fields from the best on with their scores."""
    plan, per_mm = _draw_map(plain, found, chosen), plain.width / (found.grid.slide_size[0] * slide.mpp.x / 1000)
    rows = -(-len(thumbs) // _PER_ROW)
    width = max(_GAP + _PER_ROW * (_THUMB + _GAP), plan.width + 2 * _GAP)
    top = _TITLE + plan.height + 2 * _CAPTION + _GAP
    image = Image.new("RGB", (width, top + rows * (_THUMB + _CAPTION + _BAR) + _GAP + _CAPTION), "white")
    draw = ImageDraw.Draw(image)
    draw.text((_GAP, 16), slide.name, _INK, ImageFont.load_default(17))
    image.paste(plan, (_GAP, _TITLE))
    y = _TITLE + plan.height + 10
    draw_scale_bar(draw, _GAP, y, Panel(plan.width / per_mm, plan.size, per_mm))
    left = float(_GAP)
    for name, colour in (("field, by rank", FIELD), ("IDC", IDC), ("invasive edge", INVASIVE_EDGE)):
        draw.line((left, y + 36, left + 26, y + 36), colour, width=3)
        draw.text((left + 32, y + 27), name, _INK, ImageFont.load_default(14))
        left += 60 + draw.textlength(name, ImageFont.load_default(14))
    for number, (thumbnail, field) in enumerate(zip(thumbs, chosen.fields, strict=True)):
        x = _GAP + number % _PER_ROW * (_THUMB + _GAP)
        y = top + number // _PER_ROW * (_THUMB + _CAPTION + _BAR)
        image.paste(thumbnail, (x, y))
        side_mm = field.width * slide.mpp.x / 1000
        draw_scale_bar(draw, x, y + _THUMB + 6, Panel(side_mm, thumbnail.size, _THUMB / side_mm))
        y += _BAR
        draw.text((x, y + _THUMB + 2), f"{number + 1}: score {field.score:.3f}", _INK, ImageFont.load_default(14))
        parts = f"tumour {field.tumour:.2f}, nuclei {field.nuclei:.2f}, edge {field.edge:.2f}"
        draw.text((x, y + _THUMB + 19), parts, _INK, ImageFont.load_default(12))
    weights = ", ".join(f"{weight:g} {part}" for part, weight in WEIGHTS.items())
    draw.text((_GAP, image.height - 28), f"Score: {weights}. {RESEARCH_USE}", _INK, ImageFont.load_default(12))
    image.save(path, compress_level=1)


def _draw_map(plain: Image.Image, found: Segmentation, chosen: FoundFields) -> Image.Image:
    """Draw the outlines of IDC and of the invasive edge, and the numbered fields, over a picture of the slide."""
    image = plain.copy()
    scale = np.array(image.size) / np.array(found.grid.slide_size)
    boxes = [_box(field) for field in chosen.fields]
    for areas, colour in (([found.idc], IDC), ([chosen.edge], INVASIVE_EDGE), (boxes, FIELD)):
        stroke(image, outlines(areas, scale, image.size), colour)
    number_areas(image, boxes, scale, FIELD)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, image.width - 1, image.height - 1), outline=_INK)
    return image


def _plain(run: Path, found: Segmentation) -> Image.Image:
    """Return the slide as the run has it in a picture, else its tissue in grey: the slide may have to be read whole."""
    if (plain := read_plain(run)) is not None:
        return plain
    grid = found.grid
    per_pixel = _MAP / max(grid.slide_size)
    size = max(1, round(grid.slide_size[0] * per_pixel)), max(1, round(grid.slide_size[1] * per_pixel))
    tissue = np.where(found.tissue[..., None], _PAPER, 255).astype(np.uint8)
    # The last squares of the grid may reach beyond the slide.
    steps = fine_grid(grid).step
    right, bottom = (min(s / d, n) for s, d, n in zip(grid.slide_size, steps, tissue.shape[1::-1], strict=True))
    return Image.fromarray(tissue).resize(size, Image.Resampling.BOX, box=(0.0, 0.0, right, bottom))
