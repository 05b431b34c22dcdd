"""What the report shows of a slide: pictures that lie over one another, and places seen closer; bounded in bytes."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
import shapely.affinity
from imagecodecs import png_encode
from PIL import Image

from wsi_idc.base.grid import Block
from wsi_idc.base.pages.colours import NOT_COMPUTED, TISSUE
from wsi_idc.base.pages.render import data_uri
from wsi_idc.base.pages.sheet import scale_bar
from wsi_idc.base.pages.strokes import hatched, highest
from wsi_idc.base.threads import in_parallel
from wsi_idc.errors import SlideError
from wsi_idc.regions.interpolate import per_side
from wsi_idc.runs.results.overview import Pictured, heat_layer, over
from wsi_idc.runs.results.picture import LONGEST
from wsi_idc.slides.slide import Slide

# Bytes of the slide, of an overlay, and of all crops as they are written: so a report stays below 3 MB.
_SLIDE, _OVERLAY, _CROPS = 700_000, 150_000, 600_000
# Regions with an outline and a row of their own, the corners of all outlines, and regions with a crop.
LISTED, _CORNERS, _CROPPED = 400, 40_000, 8
# Side of a crop in um and in pixels, at least, and the finest scale.
_SIDE_UM, _SIDE_PX, _FINEST = 600.0, 300, 1.0


@dataclass(frozen=True, slots=True)
class Crop:
    """A place of a region seen closer: `image` is a JPEG as data URI, (width, height) its pixels of `um` um.

    `d` is the outline in it, as the path of an SVG.
    """

    region: int
    um: str
    width: int
    height: int
    image: str
    d: str
    scale: dict[str, Any]


def size_of(run: Pictured) -> tuple[int, int]:
    """Return the size of the picture in a report, in pixels."""
    height, width = run.pixels.shape[:2]
    factor = LONGEST / max(width, height)
    if factor > 0.9:
        return width, height
    return max(1, round(width * factor)), max(1, round(height * factor))


def slide_layers(run: Pictured) -> list[dict[str, Any]]:
    """Return what lies over one another in the report, from below: pictures and outlines, with what they are called."""
    size = size_of(run)
    # As coarse as it was found, or nearly.
    half = max(1, size[0] // 2), max(1, size[1] // 2)
    tissue = Image.fromarray(run.tissue.astype(np.uint8) * 255).resize(half, Image.Resampling.NEAREST)
    edge = Image.fromarray(np.asarray(highest(tissue)) - np.asarray(tissue))
    failed = _seen(_one(hatched(over(run.failed, run.grid, size)), NOT_COMPUTED), size) if run.failed.any() else []
    paths, labels = _outlines(run, size)
    hatching = "background: repeating-linear-gradient(135deg, #888 0 2px, transparent 2px 5px)"
    scale = "background: linear-gradient(to right, #21918c, #fde725)"
    found = [
        _layer("slide", "H&E", "background: #d9a3c4", images=[_whole(run, size)]),
        _layer("tissue", "Tissue", f"border-top: 2px solid rgb{TISSUE}", _seen(_one(edge, TISSUE), size), shown=False),
        _layer("heat", "Probability", scale, _heat(run, size), shown=False),
        _layer("outlines", "IDC", "border-top: 3px solid #c80000", paths=paths, labels=labels),
        _layer("failed", "Not computed", hatching, failed),
    ]
    return [layer for layer in found if layer["images"] or layer["paths"]]


def crops_of(slide: Slide, run: Pictured, numbers: np.ndarray, threads: int = 1) -> list[Crop]:
    """Cut out the largest regions where they are most probable, at 1 um/px or, of a coarser slide, at its own.

    `numbers` (h, w) has the number of the region of each fine pixel. What cannot be decoded is left out. `threads` of
    them are read at once.
    """
    own = max(slide.mpp.x, slide.mpp.y)
    um = own * max(1, int(_FINEST / own + 1e-6))
    side = max(_SIDE_PX, round(_SIDE_UM / um))
    step = np.array([um / slide.mpp.x, um / slide.mpp.y])
    width, height = (min(side, max(1, int(n / s))) for n, s in zip(slide.size, step, strict=True))
    cropped = dict(enumerate(run.regions[:_CROPPED], 1))
    read_at: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def read(number: int) -> None:
        centre = _most_probable(run, numbers, number, cropped[number].geometry)
        corner = np.round(np.maximum(0, np.minimum(centre - side / 2 * step, np.array(slide.size) - side * step)))
        with suppress(SlideError):
            read_at[number] = corner, slide.read(float(corner[0]), float(corner[1]), width, height, um)

    in_parallel(read, cropped, threads)
    found, spent = [], 0
    for number, (corner, pixels) in sorted(read_at.items()):
        image = _jpeg(Image.fromarray(pixels), 82)
        spent += len(image)
        if spent > _CROPS:
            break
        border = shapely.clip_by_rect(
            cropped[number].geometry.boundary, *corner, *(corner + np.array([width, height]) * step)
        )
        d = _path(shapely.affinity.affine_transform(border, _into(corner, step)))
        found.append(Crop(number, f"{um:.3g}", width, height, image, d, scale_bar(width * um / 1000)))
    return found


def _into(corner: np.ndarray, step: np.ndarray) -> list[float]:
    """Return the affine transform that brings level-0 pixels to those of a picture, `step` wide, that begins there."""
    (x, y), (across, down) = corner, step
    return [1 / across, 0, 0, 1 / down, -x / across, -y / down]


def _heat(run: Pictured, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Return lines of equal probability with a dark rim, as an overlay."""
    heat, colours = heat_layer(run, size)
    if not heat.getbbox():
        return []
    rim = highest(heat).point(lambda v: v * 2 // 3)
    lines = Image.merge("RGBA", (*Image.new("RGB", size).split(), rim))
    lines.paste(colours, (0, 0), heat)
    return _seen(lines, size)


def _layer(
    name: str, title: str, swatch: str, images: Any = (), shown: bool = True, paths: Any = (), labels: Any = ()
) -> dict[str, Any]:
    found = {"id": name, "name": title, "swatch": swatch, "shown": shown}
    return found | {"images": images, "paths": paths, "labels": labels}


def _whole(run: Pictured, size: tuple[int, int]) -> dict[str, Any]:
    """Return the slide for a picture of `size`; one of noise, which takes many bytes, with less detail."""
    address = _jpeg(run.slide(size), 80)
    if len(address) > _SLIDE:
        address = _jpeg(run.slide((max(1, size[0] // 2), max(1, size[1] // 2))), 70)
    return {"address": address, "x": 0, "y": 0, "width": size[0], "height": size[1]}


def _seen(image: Image.Image, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Return the part of an overlay (RGBA) in which there is anything, with its place in a picture of `size`; or none.

    As PNG; one of noise, which takes many bytes, at half its size, or a quarter.
    """
    box = image.getchannel("A").getbbox()
    if box is None:
        return []
    by = size[0] / image.width, size[1] / image.height
    part = image.crop(box)
    while len(data := png_encode(np.asarray(part), level=4)) > _OVERLAY and min(part.size) > 16:
        part = part.resize((part.width // 2, part.height // 2), Image.Resampling.BOX)
    place = {"x": box[0] * by[0], "y": box[1] * by[1]}
    return [
        place
        | {"address": data_uri(bytes(data), "image/png")}
        | {
            "width": (box[2] - box[0]) * by[0],
            "height": (box[3] - box[1]) * by[1],
        }
    ]


def _outlines(run: Pictured, size: tuple[int, int]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the outlines as paths, those of `LISTED` regions each with its number, and the numbers with their places.

    Outlines are simplified to what the picture can show; beyond so many corners they are left out, the smallest first.
    """
    scale = run.scale(size)
    paths: list[dict[str, Any]] = []
    labels, left = [], _CORNERS
    for number, region in enumerate([*run.regions, *run.slivers], 1):
        simple = shapely.simplify(shapely.transform(region.geometry, lambda xy: xy * scale), 0.4)
        left -= int(shapely.get_num_coordinates(simple))
        if left < 0:
            break
        focus = number <= len(run.regions)
        listed = number if focus and number <= LISTED else None
        paths.append({"sliver": not focus, "d": _path(simple), "region": listed})
        if focus and number <= LISTED // 4:
            x, y = shapely.get_coordinates(shapely.point_on_surface(simple))[0]
            labels.append({"x": f"{x:.1f}", "y": f"{y:.1f}", "text": number})
    return paths, labels


def _path(geometry: shapely.Geometry) -> str:
    """Return lines, or the rings of an area, as the path of an SVG, to a tenth of a pixel."""
    parts = shapely.get_parts(geometry)
    lines = shapely.get_rings(parts) if shapely.area(geometry) else parts[~shapely.is_empty(parts)]
    return "".join(
        "M" + "L".join(f"{x:g} {y:g}" for x, y in np.round(shapely.get_coordinates(line), 1).tolist()) for line in lines
    )


def _most_probable(run: Pictured, numbers: np.ndarray, number: int, geometry: shapely.Geometry) -> np.ndarray:
    """Return the centre of the most probable patch whose centre lies in a region, (x, y) in level-0 pixels."""
    middle, side = per_side(run.grid) // 2, per_side(run.grid)
    at = numbers[middle::side, middle::side] == number
    rows, cols = (min(a, b) for a, b in zip(at.shape, run.heatmap.shape, strict=True))
    values = np.where(at[:rows, :cols], np.nan_to_num(run.heatmap[:rows, :cols]), -1)
    row, col = np.unravel_index(int(values.argmax()), values.shape)
    if values[row, col] < 0:
        return shapely.get_coordinates(shapely.point_on_surface(geometry))[0]
    block = Block(int(row), int(col), int(row) + 1, int(col) + 1)
    return np.array(run.grid.origin(block)) + np.array(run.grid.step) / 2


def _one(mask: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """Return a picture of one colour that is seen where the mask is."""
    image = Image.new("RGBA", mask.size, (*colour, 0))
    image.putalpha(mask)
    return image


def _jpeg(image: Image.Image, quality: int) -> str:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return data_uri(stream.getvalue(), "image/jpeg")
