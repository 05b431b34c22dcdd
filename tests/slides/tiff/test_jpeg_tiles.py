from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from wsi_idc.demo.painter import PaintedSection
from wsi_idc.errors import SlideError
from wsi_idc.slides.open import open_file
from wsi_idc.slides.openslide_reader import OpenSlideReader
from wsi_idc.slides.reader import Reader
from wsi_idc.slides.slide import Slide
from wsi_idc.slides.tiff.jpeg_tiles import JpegTileReader
from wsi_idc.slides.write import write_slide

RGB = {"compressionargs": {"outcolorspace": "rgb"}, "subsampling": (1, 1)}
APERIO = {"description": "Aperio Image Library v12.0\r\n750x600|AppMag = 40|MPP = 0.25"}
LAYOUTS: dict[str, dict[str, Any]] = {
    "4:2:0": {"subsampling": (2, 2)},
    "4:2:2": {"subsampling": (2, 1), "tile": (64, 128)},
    "4:4:4": {"subsampling": (1, 1), "tile": (240, 240)},
    "rgb": RGB,
    "aperio": APERIO | RGB,
    "big": {"bigtiff": True, "byteorder": ">"},
}


def write(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    options = {"tile": (128, 128), "compression": "jpeg", "photometric": "rgb", "metadata": None} | options
    scale = {"resolution": (2500, 2500), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path, bigtiff=options.pop("bigtiff", False), byteorder=options.pop("byteorder", "<")) as t:
        t.write(pixels, **(scale | options))
    return path


def both(path: Path) -> tuple[OpenSlideReader, JpegTileReader]:
    reader = open_file(path).reader
    assert isinstance(reader, JpegTileReader)
    return OpenSlideReader(path), reader


def differ(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    return np.abs(one.astype(int) - two)


def rectangles(reader: Reader, level: int, count: int = 60) -> list[tuple[int, int, int, int]]:
    """Rectangles of a level, many of which reach over its borders, and the whole of it."""
    rng, at = np.random.default_rng(level), reader.levels[level]
    low, high = (-60, -60, 1, 1), (at.width + 30, at.height + 30, 300, 300)
    found = [(int(x), int(y), int(w), int(h)) for x, y, w, h in rng.integers(low, high, (count, 4))]
    return [*found, (0, 0, at.width, at.height), (-5, -7, at.width + 20, at.height + 20)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pixels_are_those_of_openslide(section: PaintedSection, tmp_path: Path, layout: str) -> None:
    slow, fast = both(write(tmp_path / "s.tif", section.pixels, **LAYOUTS[layout]))
    assert fast.properties == slow.properties and fast.background == slow.background
    assert fast.levels[:1] == slow.levels and all(level.virtual for level in fast.levels[1:])
    for rectangle in rectangles(fast, 0):
        assert differ(slow.read(0, *rectangle), fast.read(0, *rectangle)).max() <= 1


def test_levels_of_a_pyramid(section: PaintedSection, tmp_path: Path) -> None:
    """Sizes that do not divide; OpenSlide itself interpolates in levels whose downsample is not a whole number."""
    path = write_slide(tmp_path / "s.tif", section.pixels[:592, :736], 4.0, downsamples=(1, 4, 16), tile=64)
    slow, fast = both(path)
    assert fast.levels[:3] == slow.levels
    assert sorted(level.downsample for level in fast.levels[3:]) == [2, 8, 32, 64, 128]
    for level in range(3):
        for rectangle in rectangles(fast, level, 20):
            assert differ(slow.read(level, *rectangle), fast.read(level, *rectangle)).max() <= 1
    with Slide(path) as slide:
        assert [v["downsample"] for v in slide.describe()["levels"]] == [1, 4, 16]
        # 4 um/px is level 0; a level of the file wins that is twice as fine, a virtual one must be finer by its margin.
        best = {factor: slide.best_level(4.0 * factor) for factor in (1, 2, 4, 8, 14, 16, 100, 256)}
        assert {f: fast.levels[i].downsample for f, i in best.items()} == {
            1: 1, 2: 1, 4: 1, 8: 4, 14: 4, 16: 4, 100: 16, 256: 64,
        }  # fmt: skip


def area_mean(whole: np.ndarray, factor: int) -> np.ndarray:
    """Average over blocks of a level, on a white background beyond its borders."""
    pads = [(0, -side % factor) for side in whole.shape[:2]]
    blocks = np.pad(whole, (*pads, (0, 0)), constant_values=255).astype(float)
    return blocks.reshape(blocks.shape[0] // factor, factor, -1, factor, 3).mean((1, 3))


# The largest and the mean difference by factor: scaling leaves out the finest waves of a block of 8 pixels, which is
# not the mean where it clips, and the 4 um of a painted pixel are all fine waves.
TOLERANCE = {2: (20, 0.9), 4: (9, 0.6), 8: (4, 0.5)}


def check_virtual(reader: JpegTileReader) -> None:
    whole = reader.read(0, 0, 0, reader.levels[0].width, reader.levels[0].height)
    for level in range(1, 4):
        at = reader.levels[level]
        factor = int(at.downsample)
        expected = area_mean(whole, factor)
        got = reader.read(level, 0, 0, at.width, at.height)
        assert got.shape == expected.shape
        largest, mean = TOLERANCE[factor]
        off = np.abs(got - expected)
        assert off.max() <= largest and off.mean() <= mean
        # The borders, where tiles are decoded whole and averaged.
        if reader.levels[0].width % factor:
            assert off[:, -1].max() <= 0.502
        for x, y, width, height in rectangles(reader, level, 20):
            padded = np.full((at.height + 800, at.width + 800, 3), 255, np.uint8)
            padded[400:-400, 400:-400] = got
            part = reader.read(level, x, y, width, height)
            if 400 + x + width <= padded.shape[1] and 400 + y + height <= padded.shape[0]:
                assert np.array_equal(part, padded[400 + y : 400 + y + height, 400 + x : 400 + x + width])


@pytest.mark.parametrize("layout", ["4:2:0", "4:4:4", "rgb"])
@pytest.mark.parametrize("size", [(600, 750), (593, 745)])
def test_virtual_levels_are_means(section: PaintedSection, tmp_path: Path, layout: str, size: tuple[int, int]) -> None:
    path = write(tmp_path / "s.tif", section.pixels[: size[0], : size[1]], **LAYOUTS[layout])
    _, fast = both(path)
    assert [(v.width, v.height) for v in fast.levels] == [(-(-size[1] // d), -(-size[0] // d)) for d in (1, 2, 4, 8)]
    check_virtual(fast)


def test_a_coarse_read_goes_through_a_virtual_level(section: PaintedSection, tmp_path: Path) -> None:
    path = write(tmp_path / "s.svs", section.pixels, **APERIO)
    with Slide(path) as slide, Slide(path) as exact:
        assert len(slide.describe()["levels"]) == 1 and slide.describe()["reader"] == "jpeg-tiles"
        exact.best_level = lambda mpp: 0  # type: ignore[method-assign]
        assert [slide.best_level(mpp) for mpp in (4.0, 1.9, 0.9)] == [2, 1, 0]
        for x, y in ((0, 0), (3.3, 8.7), (-40, 500)):
            off = differ(slide.read(x, y, 60, 50, 4.0), exact.read(x, y, 60, 50, 4.0))
            assert off.max() <= 8 and off.mean() <= 0.4


def rewrite(path: Path, index: int, edit: Any) -> None:
    """Edit the bytes of one tile of the first page."""
    with tifffile.TiffFile(path) as tiff:
        start, size = tiff.pages[0].dataoffsets[index], tiff.pages[0].databytecounts[index]
    data = bytearray(path.read_bytes())
    data[start : start + size] = edit(bytes(data[start : start + size]))
    path.write_bytes(data)


DAMAGES = {
    "empty": lambda tile: bytes(len(tile)),
    "no head": lambda tile: bytes(20) + tile[20:],
    "early end": lambda tile: tile[: len(tile) // 2] + b"\xff\xd9" * 9 + tile[len(tile) // 2 + 18 :],
    "other size": lambda tile: tile.replace(bytes((0, 128, 0, 128, 3)), bytes((0, 128, 2, 0, 3)), 1),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("level", [0, 1, 3])
def test_a_damaged_tile_fails_alone(section: PaintedSection, tmp_path: Path, damage: str, level: int) -> None:
    path = write(tmp_path / "spoilt.tif", section.pixels)
    factor = 2**level
    whole = open_file(path).reader.read(level, 0, 0, 750 // factor, 600 // factor)
    rewrite(path, 8, DAMAGES[damage])  # the third tile of the second row, of six a row: x 256 to 384, y 128 to 256
    _, fast = both(path)
    for _ in range(2):
        with pytest.raises(SlideError, match=r"spoilt\.tif: level 0 at x=256, y=128 cannot be decoded"):
            fast.read(level, 250 // factor, 150 // factor, 60 // factor, 60 // factor)
        got = fast.read(level, 384 // factor, 0, 360 // factor, 600 // factor)
        assert np.array_equal(got, whole[:, 384 // factor :][:, : 360 // factor])


@pytest.mark.parametrize("hole", [slice(0.3, 1.0), slice(0.4, 0.6)])
def test_a_hole_in_a_tile_is_judged_by_openslide(section: PaintedSection, tmp_path: Path, hole: slice) -> None:
    """Some holes it decodes, others it refuses; the faster decoder alone would take all of them for tissue."""
    path = write(tmp_path / "hole.tif", section.pixels, compressionargs={"level": 98})
    start, stop = None, None

    def punch(tile: bytes) -> bytes:
        nonlocal start, stop
        start, stop = int(hole.start * len(tile)), int(hole.stop * len(tile))
        return tile[:start] + bytes(stop - start) + tile[stop:]

    rewrite(path, 8, punch)
    assert start is not None and stop is not None and stop - start > 1024
    found = []
    for reader in both(path):
        try:
            found.append(reader.read(0, 256, 128, 128, 128))
        except SlideError as error:
            found.append(np.array(str(error)))
    assert np.array_equal(found[0], found[1])


def test_a_missing_tile_is_background(section: PaintedSection, tmp_path: Path) -> None:
    path = write(tmp_path / "sparse.tif", section.pixels)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for name in ("TileOffsets", "TileByteCounts"):
            tag = tiff.pages[0].tags[name]
            tag.overwrite([0 if i == 8 else v for i, v in enumerate(tag.value)])
    slow, fast = both(path)
    assert (fast.read(0, 256, 128, 128, 128) == 255).all() and (fast.read(3, 32, 16, 16, 16) == 255).all()
    assert differ(slow.read(0, 0, 0, 750, 600), fast.read(0, 0, 0, 750, 600)).max() <= 1


def test_two_threads_read_what_one_reads(section: PaintedSection, tmp_path: Path) -> None:
    _, fast = both(write(tmp_path / "s.tif", section.pixels))
    work = [(level, *r) for level in range(4) for r in rectangles(fast, level, 15)] * 3
    expected = [fast.read(*w) for w in work]
    with ThreadPoolExecutor(2) as pool:
        for one, two in zip(expected, pool.map(lambda w: fast.read(*w), work), strict=True):
            assert np.array_equal(one, two)


@pytest.mark.parametrize("layout", ["deflate", "none", "planar", "untiled", "gray"])
def test_other_files_keep_their_reader(section: PaintedSection, tmp_path: Path, layout: str) -> None:
    options: dict[str, Any] = {
        "deflate": {"compression": "deflate"},
        "none": {"compression": None},
        "planar": {"planarconfig": "separate"},
        "untiled": {"tile": None, "rowsperstrip": 16},
        "gray": {"photometric": "minisblack"},
    }[layout]
    pixels = {"planar": np.moveaxis(section.pixels, -1, 0), "gray": section.pixels[..., 0]}.get(layout, section.pixels)
    path = write(tmp_path / "s.tif", pixels, **options)
    try:
        assert open_file(path).reader.name in ("openslide", "tifffile")
    except SlideError as error:
        assert layout == "gray" and "8-bit RGB" in str(error)


def test_a_hole_in_a_lower_level_keeps_openslide(section: PaintedSection, tmp_path: Path) -> None:
    path = write_slide(tmp_path / "s.tif", section.pixels, 4.0, downsamples=(1, 2), tile=64)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for name in ("TileOffsets", "TileByteCounts"):
            tag = tiff.pages[1].tags[name]
            tag.overwrite([0 if i == 2 else v for i, v in enumerate(tag.value)])
    assert isinstance(open_file(path).reader, OpenSlideReader)


def test_two_levels_of_one_size_keep_openslide(section: PaintedSection, tmp_path: Path) -> None:
    path = tmp_path / "s.tif"
    with tifffile.TiffWriter(path) as tiff:
        for _ in range(2):
            tiff.write(section.pixels, tile=(64, 64), compression="jpeg", photometric="rgb", metadata=None)
    assert isinstance(open_file(path).reader, OpenSlideReader)


@pytest.mark.realdata
class TestRealSlide:
    def test_pixels_are_those_of_openslide(self, shared: Path) -> None:
        slow, fast = both(shared / "slides" / "CMU-1-Small-Region.svs")
        for rectangle in rectangles(fast, 0):
            assert differ(slow.read(0, *rectangle), fast.read(0, *rectangle)).max() <= 1

    def test_virtual_levels_are_means(self, shared: Path) -> None:
        _, fast = both(shared / "slides" / "CMU-1-Small-Region.svs")
        check_virtual(fast)

    def test_others_keep_their_reader(self, shared: Path) -> None:
        for name in ("TCGA-CR-7395-01A-01-TS1.svs", "test3-DAPI-2_387.ndpi"):
            assert isinstance(open_file(shared / "slides" / name).reader, OpenSlideReader)
