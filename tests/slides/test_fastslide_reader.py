"""Slides that fastslide reads: CZI files that OpenSlide declines; damage of which it says nothing."""

from __future__ import annotations

import builtins
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from wsi_idc.errors import ScaleError, SlideError
from wsi_idc.slides import fastslide_reader
from wsi_idc.slides.content import files_of
from wsi_idc.slides.paths.find import find_slides
from wsi_idc.slides.slide import Slide

from czi import Tile, write_czi
from stores import smaller

RNG = np.random.default_rng(3)
# No pixel is white.
PIXELS = RNG.integers(0, 255, (384, 512, 3), np.uint8)


def tiles(pixels: np.ndarray, side: int = 128, **place: int) -> list[Tile]:
    by = place.get("by", 1)
    corners = [(x, y) for y in range(0, pixels.shape[0], side) for x in range(0, pixels.shape[1], side)]
    return [Tile(pixels[y : y + side, x : x + side], x * by, y * by, **place) for x, y in corners]


def off(found: np.ndarray, expected: np.ndarray) -> int:
    return int(np.abs(found.astype(int) - expected).max())


@pytest.fixture
def read_by_fastslide() -> None:
    pytest.importorskip("fastslide")


@pytest.mark.usefixtures("read_by_fastslide")
class TestInstalled:
    """With the extra."""

    def test_pixels_levels_and_scale(self, tmp_path: Path) -> None:
        path = write_czi(tmp_path / "a.czi", [*tiles(PIXELS), *tiles(smaller(PIXELS, 2), by=2)], 0.25)
        with Slide(path) as slide:
            assert slide.size == (512, 384)
            assert (slide.mpp.x, slide.mpp.source) == (0.25, "fastslide (czi)")
            assert np.array_equal(slide.read(0, 0, 512, 384, 0.25), PIXELS)
            assert off(slide.read(0, 0, 128, 96, 1.0), smaller(smaller(PIXELS, 2), 2)) <= 1
            facts = slide.describe()
            assert ([v["downsample"] for v in facts["levels"]], facts["reader"]) == ([1, 2], "fastslide")
            outside = slide.read(-10, 370, 30, 20, 0.25)
            assert (outside[:, :10] == 255).all() and (outside[14:] == 255).all()
            assert np.array_equal(outside[:14, 10:], PIXELS[370:, :20])
            assert slide.warnings == ()

    def test_a_scale_of_nought_is_not_known(self, tmp_path: Path) -> None:
        path = write_czi(tmp_path / "a.czi", tiles(PIXELS), None)
        with pytest.raises(ScaleError, match="does not state its scale"):
            Slide(path)
        with Slide(path, 0.5) as slide:
            assert slide.mpp.x == 0.5

    def test_of_many_focal_planes_the_middle_one(self, tmp_path: Path) -> None:
        planes = [tile for z in range(3) for tile in tiles(PIXELS if z == 1 else PIXELS // 2, z=z)]
        with Slide(write_czi(tmp_path / "a.czi", planes)) as slide:
            assert np.array_equal(slide.read(0, 0, 512, 384, 0.5), PIXELS)
            assert "holds 3 focal planes, of which the middle one, 2, was looked at" in slide.warnings[0]

    def test_several_scenes(self, tmp_path: Path) -> None:
        scenes = [*tiles(PIXELS[:128, :128]), *(Tile(t.pixels, t.x + 900, t.y, scene=1) for t in tiles(PIXELS))]
        path = write_czi(tmp_path / "a.czi", scenes)
        with Slide(path) as slide:
            assert slide.size == (512, 384) and [i["role"] for i in slide.images] == ["scan", "slide"]
            assert "holds 2 images that may be scans; image 1 was looked at, not 0" in slide.warnings[0]
        with Slide(path, series=0) as slide:
            assert np.array_equal(slide.read(0, 0, 128, 128, 0.5), PIXELS[:128, :128])

    def test_a_gap_between_tiles_is_white_and_said_where_it_may_be_damage(self, tmp_path: Path) -> None:
        with Slide(write_czi(tmp_path / "a.czi", tiles(PIXELS)[1:])) as slide:
            assert (slide.read(0, 0, 128, 128, 0.5) == 255).all()
            assert "white parts may be damaged" in slide.warnings[0]
        small = tiles(smaller(PIXELS, 2), 64, by=2)
        with Slide(write_czi(tmp_path / "b.czi", [*tiles(PIXELS)[1:], *small[1:]])) as slide:
            assert (slide.read(0, 0, 128, 128, 0.5) == 255).all() and slide.warnings == ()

    def test_a_tile_that_cannot_be_decoded_is_an_error_and_not_white(self, tmp_path: Path) -> None:
        path = write_czi(tmp_path / "a.czi", [*tiles(PIXELS), *tiles(smaller(PIXELS, 2), by=2)], damaged=[5])
        with Slide(path) as slide:
            with pytest.raises(SlideError, match=r"level 0 at x=128, y=128 cannot be decoded \(fastslide gives white"):
                slide.read(0, 0, 512, 384, 0.5)
            assert np.array_equal(slide.read(256, 0, 256, 128, 0.5), PIXELS[:128, 256:])

    def test_a_file_that_was_cut_short(self, tmp_path: Path) -> None:
        path = write_czi(tmp_path / "a.czi", tiles(PIXELS))
        path.write_bytes(path.read_bytes()[:400_000])
        with pytest.raises(
            SlideError, match=r"OpenSlide cannot open it .*; fastslide cannot open it .*is the file whole\?"
        ):
            Slide(path)

    def test_what_never_comes_back_is_given_up(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write_czi(tmp_path / "a.czi", tiles(PIXELS))
        with Slide(path) as slide:
            monkeypatch.setattr(fastslide_reader, "_LONGEST_S", 0.2)
            reader: Any = slide._reader

            class Stuck:
                def read_region(self, *_: Any) -> None:
                    time.sleep(3)

            view, reader._view = reader._view, Stuck()
            with pytest.raises(SlideError, match="does not come back within"):
                slide.read(0, 0, 10, 10, 0.5)
            # Its lock is held for ever: not asked again.
            reader._view = view
            with pytest.raises(SlideError, match="does not come back"):
                slide.read(0, 0, 10, 10, 0.5)


@pytest.mark.parametrize("name", ["a.vsi", "a.isyntax", "a.czi"])
def test_without_the_extra_the_error_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = tmp_path / name
    if name == "a.czi":
        write_czi(path, tiles(PIXELS))
    else:
        # A VSI file is a TIFF that holds a photo.
        tifffile.imwrite(path, PIXELS, photometric="rgb")
    load = builtins.__import__

    def without(module: str, *rest: Any, **named: Any) -> Any:
        if module == "fastslide":
            raise ModuleNotFoundError("No module named 'fastslide'", name="fastslide")
        return load(module, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    assert find_slides([tmp_path]) == [path]
    with pytest.raises(
        SlideError, match=r'this needs fastslide, which is not installed; .*pip install "\.\[fastslide\]"'
    ):
        Slide(path)


@pytest.mark.usefixtures("read_by_fastslide")
def test_a_vsi_file_without_its_folder_is_not_taken_for_the_photo_in_it(tmp_path: Path) -> None:
    path = tmp_path / "a.vsi"
    tifffile.imwrite(path, PIXELS, photometric="rgb", resolution=(20000, 20000), resolutionunit="CENTIMETER")
    with pytest.raises(SlideError, match="its pixels are in the folder _a_ beside it, which is missing"):
        Slide(path)
    pixels = tmp_path / "_a_" / "stack1" / "frame_t.ets"
    pixels.parent.mkdir(parents=True)
    pixels.write_bytes(b"SIS\0")
    assert files_of(path) == [path, pixels], "the fingerprint is of these"
    with pytest.raises(SlideError, match="fastslide cannot open it"):
        Slide(path)
