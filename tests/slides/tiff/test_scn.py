from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsi_idc.errors import SlideError
from wsi_idc.slides.paths.series import with_series
from wsi_idc.slides.slide import Slide, describe_slide

RNG = np.random.default_rng(2)
MACRO = np.full((152, 52, 3), 200, np.uint8)
ONE, TWO, THREE = (RNG.integers(0, 256, (h, w, 3), np.uint8) for h, w in ((256, 384), (200, 300), (128, 256)))
LIGHT = "brightfield"


@dataclass
class Scan:
    """A scan of a place of the glass: focal planes of one size, um per pixel, corner in um."""

    planes: tuple[np.ndarray, ...]
    um: float = 2.0
    at: tuple[float, float] = (1000.0, 1000.0)
    light: str = LIGHT


def write(path: Path, *scans: Scan) -> Path:
    """Write a macro photo of a glass of 26 x 76 mm and scans with a level of half their size; no resolution tags."""
    pages, images = [MACRO], [_xml("macro", (26_000_000, 76_000_000, 0, 0), [(MACRO, 0, 0, 0)], LIGHT)]
    for scan in scans:
        dims = []
        for z, plane in enumerate(scan.planes):
            for r, pixels in enumerate((plane, plane[::2, ::2])):
                dims.append((pixels, r, z, len(pages)))
                pages.append(pixels)
        height, width = scan.planes[0].shape[:2]
        view = (int(width * scan.um * 1000), int(height * scan.um * 1000), *(int(v * 1000) for v in scan.at))
        images.append(_xml(f"scene{len(images)}", (view[0], view[1], view[2], view[3]), dims, scan.light))
    text = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01" uuid="urn:uuid:1">'
        '<collection name="c" uuid="urn:uuid:2" sizeX="26000000" sizeY="76000000">'
        + "".join(images)
        + "</collection></scn>"
    )
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for i, pixels in enumerate(pages):
            description = {"description": text} if i == 0 else {}
            tiff.write(pixels, photometric="rgb", tile=(64, 64), metadata=None, compression="jpeg", **description)
    return path


def _xml(name: str, view: tuple[int, int, int, int], dims: list[tuple[np.ndarray, int, int, int]], light: str) -> str:
    width, height, x, y = view
    levels = "".join(
        f'<dimension sizeX="{p.shape[1]}" sizeY="{p.shape[0]}" r="{r}" z="{z}" ifd="{i}"/>' for p, r, z, i in dims
    )
    return (
        f'<image name="{name}"><pixels sizeX="{dims[0][0].shape[1]}" sizeY="{dims[0][0].shape[0]}">{levels}</pixels>'
        f'<view sizeX="{width}" sizeY="{height}" offsetX="{x}" offsetY="{y}"/>'
        "<scanSettings><objectiveSettings><objective>5</objective></objectiveSettings>"
        f"<illuminationSettings><illuminationSource>{light}</illuminationSource></illuminationSettings>"
        "</scanSettings></image>"
    )


def look(pixels: np.ndarray, slide: Slide, x: int = 0, y: int = 0) -> float:
    """Return how far a slide, read in its own pixels from (x, y), is from what was written, mean over all."""
    read = slide.read(x, y, pixels.shape[1], pixels.shape[0], slide.mpp.x)
    return float(np.abs(read.astype(float) - pixels).mean())


def test_scans_of_different_scale_are_read_one_at_a_time_and_named(tmp_path: Path) -> None:
    path = write(tmp_path / "s.scn", Scan((ONE,), 0.5), Scan((TWO,), 1.0, (9000.0, 9000.0)))
    with Slide(path) as slide:
        assert slide.size == (384, 256) and slide.mpp.x == pytest.approx(0.5)
        assert [i["role"] for i in slide.images] == ["macro", "slide", "scan"]
        assert "image 1 was looked at, not 2 (300 x 200 px)" in slide.warnings[0]
        assert [v["downsample"] for v in slide.describe()["levels"]] == [1, 2]
    with Slide(path, series=2) as slide:
        assert slide.size == (300, 200) and slide.mpp.x == pytest.approx(1.0)
        assert slide.mpp.source == "openslide.mpp (leica)"
    assert [p.name for p in with_series([path], None)] == ["s.scn::series=1", "s.scn::series=2"]


def test_scans_of_one_scale_are_one_slide_each_at_its_place_and_each_can_be_taken_alone(tmp_path: Path) -> None:
    places = (1000.0, 1000.0), (2000.0, 3000.0), (4000.0, 2000.0)
    scans = [Scan((p,), 2.0, at) for p, at in zip((ONE, TWO, THREE), places, strict=True)]
    path = write(tmp_path / "s.scn", *scans)
    alone = []
    for number, pixels in enumerate((ONE, TWO, THREE), 1):
        with Slide(path, series=number) as slide:
            assert slide.size == pixels.shape[1::-1] and slide.mpp.x == 2.0
            assert [i["role"] for i in slide.images].index("slide") == number
            assert not slide.warnings
            alone.append(look(pixels, slide))
            fingerprint = slide.fingerprint
    with Slide(path) as slide:
        assert slide.size == (3000 // 2 + 256, 2000 // 2 + 200) and slide.mpp.x == 2.0 and not slide.mpp.estimated
        assert [i["role"] for i in slide.images] == ["macro", *["part of the slide"] * 3]
        assert not slide.warnings and slide.fingerprint != fingerprint
        for pixels, (x, y), own in zip((ONE, TWO, THREE), places, alone, strict=True):
            assert look(pixels, slide, int(x - 1000) // 2, int(y - 1000) // 2) == pytest.approx(own, abs=1)
    assert [p.name for p in with_series([path], None)] == [f"s.scn::series={n}" for n in (1, 2, 3)]
    with pytest.raises(SlideError, match="there is no image 4; the file holds the images 0 to 3"):
        Slide(path, series=4)


def test_of_one_scan_there_is_a_slide_and_a_photo(tmp_path: Path) -> None:
    path = write(tmp_path / "s.scn", Scan((ONE,)))
    assert [i["role"] for i in describe_slide(path)["images"]] == ["macro", "slide"]
    assert with_series([path], None) == [path]


def test_scans_that_overlap_are_joined_with_a_warning_and_not_where_they_only_touch(tmp_path: Path) -> None:
    over = write(tmp_path / "over.scn", Scan((ONE,)), Scan((TWO,), at=(1700.0, 1400.0)))
    with Slide(over) as slide:
        assert slide.size == (350 + 300, 200 + 200)
        assert "scans 1 and 2 of the file overlap" in slide.warnings[0]
    with Slide(over, series=1) as slide:
        assert slide.size == (384, 256) and not slide.warnings
    touch = write(tmp_path / "touch.scn", Scan((ONE,)), Scan((TWO,), at=(1768.0, 1000.0)))
    assert not describe_slide(touch)["warnings"]


@pytest.mark.parametrize("count", [1, 2])
def test_of_focal_planes_the_middle_one_is_read_though_openslide_takes_the_first(tmp_path: Path, count: int) -> None:
    planes = (np.full_like(ONE, 250), ONE, np.full_like(ONE, 250))
    scans = [Scan(planes), Scan(planes, at=(9000.0, 9000.0))]
    with Slide(write(tmp_path / "z.scn", *scans[:count])) as slide:
        assert slide.size == (384, 256) and look(ONE, slide) < 60
        assert "3 focal planes, of which the middle one" in slide.warnings[0]
        assert len(slide.warnings) == count and (count == 1 or "not 2 (384 x 256 px)" in slide.warnings[1])


def test_scans_whose_scale_differs_by_a_little_are_not_one_slide(tmp_path: Path) -> None:
    path = write(tmp_path / "s.scn", Scan((ONE,), 2.0), Scan((TWO,), 2.03, (9000.0, 9000.0)))
    with Slide(path) as slide:
        assert slide.size == (384, 256) and "not 2 (300 x 200 px)" in slide.warnings[0]


def test_a_scan_in_other_light_is_named_and_not_joined(tmp_path: Path) -> None:
    path = write(tmp_path / "s.scn", Scan((ONE,)), Scan((TWO,), at=(9000.0, 9000.0), light="fluorescence"))
    with Slide(path) as slide:
        assert slide.size == (384, 256) and [i["role"] for i in slide.images] == ["macro", "slide", "scan"]
        assert "image 1 was looked at, not 2 (300 x 200 px)" in slide.warnings[0]
