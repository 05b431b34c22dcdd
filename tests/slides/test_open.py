"""Files of several images: which of them is the slide, whatever their order, and what is said of the others."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from wsi_idc.errors import SlideError
from wsi_idc.slides.slide import Slide

RNG = np.random.default_rng(5)
SCAN = RNG.integers(0, 256, (480, 640, 3), np.uint8)
OTHER_SCAN = RNG.integers(0, 256, (400, 608, 3), np.uint8)
MACRO = np.full((200, 520, 3), 90, np.uint8)
LABEL = np.full((300, 310, 3), 30, np.uint8)


def half(pixels: np.ndarray, by: int = 2) -> np.ndarray:
    h, w = pixels.shape[0] // by, pixels.shape[1] // by
    return pixels[: h * by, : w * by].reshape(h, by, w, by, 3).mean((1, 3)).astype(np.uint8)


@dataclass
class Image:
    """One page to write; `mpp` goes into its resolution tags."""

    pixels: np.ndarray
    mpp: float | None = None
    tiled: bool = True
    options: dict[str, Any] = field(default_factory=dict)


def off(found: np.ndarray, expected: np.ndarray) -> int:
    """How far pixels are from others at most: means of a finer level are rounded otherwise than those of the file."""
    return int(np.abs(found.astype(int) - expected).max())


def write(path: Path, images: Sequence[Image]) -> Path:
    with tifffile.TiffWriter(path) as tiff:
        for image in images:
            scale = {"resolution": (1e4 / image.mpp, 1e4 / image.mpp), "resolutionunit": 3} if image.mpp else {}
            layout = {"tile": (64, 64)} if image.tiled else {"rowsperstrip": 40}
            options = {"photometric": "rgb", "metadata": None, "compression": "deflate"} | layout | scale
            tiff.write(image.pixels, **(options | image.options))
    return path


FULL = Image(SCAN, 0.5)
HALF = Image(half(SCAN), 1.0, options={"subfiletype": 1})
QUARTER = Image(half(SCAN, 4), 2.0, options={"subfiletype": 1})
NAMED_LABEL = Image(LABEL, 0.5, tiled=False, options={"description": "Label"})
TILED_MACRO = Image(MACRO, 16.0, options={"description": "macro image"})


@pytest.mark.parametrize("order", list(itertools.permutations([FULL, HALF, NAMED_LABEL, TILED_MACRO], 4)))
def test_the_scan_and_its_level_in_any_order(tmp_path: Path, order: Sequence[Image]) -> None:
    with Slide(write(tmp_path / "s.tif", order)) as slide:
        assert slide.size == (640, 480) and slide.mpp.x == pytest.approx(0.5)
        assert np.array_equal(slide.read(0, 0, 640, 480, 0.5), SCAN)
        assert off(slide.read(0, 0, 320, 240, 1.0), HALF.pixels) <= 1
        assert slide.warnings == ()
        assert sorted(i["role"] for i in slide.images if i["role"] != "slide") == ["label", "macro"]


@pytest.mark.parametrize("order", list(itertools.permutations([FULL, HALF, QUARTER])))
def test_a_pyramid_in_any_order(tmp_path: Path, order: Sequence[Image]) -> None:
    with Slide(write(tmp_path / "s.tif", order)) as slide:
        assert [v["downsample"] for v in slide.describe()["levels"]] == [1, 2, 4]
        assert off(slide.read(0, 0, 160, 120, 2.0), QUARTER.pixels) <= 1


UNLIKE = [
    Image(MACRO, 16.0, options={"subfiletype": 1}),  # another shape and scale
    Image(MACRO, None, options={"subfiletype": 1}),  # another shape
    Image(half(SCAN), 16.0, options={"subfiletype": 1}),  # its shape, but a scale that is not twice that of level 0
    Image(half(SCAN)[:, :280], 1.0, options={"subfiletype": 1}),  # its scale, but not its shape
    Image(MACRO, 16.0, options={"subfiletype": 9}),  # as Aperio marks a macro photo
]


@pytest.mark.parametrize("other", UNLIKE)
@pytest.mark.parametrize("first", [True, False])
def test_what_is_marked_as_a_level_but_is_none(tmp_path: Path, other: Image, first: bool) -> None:
    path = write(tmp_path / "s.tif", [FULL, other] if first else [other, FULL])
    with Slide(path) as slide:
        assert [v["downsample"] for v in slide.describe()["levels"]] == [1]
        assert np.array_equal(slide.read(0, 0, 640, 480, 0.5), SCAN)
        contradicts = other.mpp == 1.0 or other.mpp is None
        assert ["was not used" in w for w in slide.warnings] == [True] * contradicts


@pytest.mark.parametrize("swapped", [False, True])
def test_two_scans_in_one_file(tmp_path: Path, swapped: bool) -> None:
    pairs = [[FULL, HALF], [Image(OTHER_SCAN, 0.5), Image(half(OTHER_SCAN), 1.0, options={"subfiletype": 1})]]
    path = write(tmp_path / "s.tif", [image for pair in (pairs[::-1] if swapped else pairs) for image in pair])
    with Slide(path) as slide:
        assert slide.size == (640, 480)
        assert off(slide.read(0, 0, 320, 240, 1.0), HALF.pixels) <= 1
        assert len(slide.warnings) == 1 and "608 x 400" in slide.warnings[0] and "--series" in slide.warnings[0]
        number = next(i["number"] for i in slide.images if i["role"] == "scan")
        fingerprint = slide.fingerprint
    with Slide(path, series=number) as slide:
        assert slide.size == (608, 400) and slide.warnings == ()
        assert off(slide.read(0, 0, 304, 200, 1.0), half(OTHER_SCAN)) <= 1
        assert slide.fingerprint != fingerprint
    with pytest.raises(SlideError, match=r"s\.tif: there is no image 7; the file holds the images 0 to 1"):
        Slide(path, series=7)


def test_scans_of_one_size_whose_levels_cannot_be_told_apart(tmp_path: Path) -> None:
    other = Image(SCAN[::-1].copy(), 0.5)
    small = Image(half(other.pixels), 1.0, options={"subfiletype": 1})
    for order, levels in (
        ([FULL, HALF, other, small], 2),
        ([FULL, other, HALF, small], 1),
        ([HALF, small, FULL, other], 1),
    ):
        with Slide(write(tmp_path / "s.tif", order)) as slide:
            assert len(slide.describe()["levels"]) == levels
            assert np.array_equal(slide.read(0, 0, 640, 480, 0.5), SCAN)
            assert np.abs(slide.read(0, 0, 320, 240, 1.0).astype(int) - HALF.pixels).max() <= 1


def test_of_three_images_of_one_size_the_middle_one(tmp_path: Path) -> None:
    planes = [Image(np.roll(SCAN, i, 0), 0.5) for i in range(3)]
    with Slide(write(tmp_path / "s.tif", planes)) as slide:
        assert np.array_equal(slide.read(0, 0, 640, 480, 0.5), planes[1].pixels)
        assert "focal planes; image 1 was looked at" in slide.warnings[0]


def test_a_coarse_unmarked_photo_is_no_slide_even_where_it_has_more_pixels(tmp_path: Path) -> None:
    photo = Image(np.full((900, 1500, 3), 80, np.uint8), 20.0)
    for order in ([photo, FULL], [FULL, photo]):
        with Slide(write(tmp_path / "s.tif", order)) as slide:
            assert slide.size == (640, 480)
            assert [i["role"] for i in slide.images if i["role"] != "slide"] == ["photo"]


def test_an_unmarked_label_in_strips_is_no_slide(tmp_path: Path) -> None:
    label = Image(np.full((700, 900, 3), 80, np.uint8), None, tiled=False)
    with Slide(write(tmp_path / "s.tif", [label, Image(SCAN)]), 0.5) as slide:
        assert slide.size == (640, 480)
        assert "900 x 700" in slide.warnings[0]


def test_levels_in_sub_ifds_of_a_plain_tiff(tmp_path: Path) -> None:
    path = tmp_path / "s.tif"
    with tifffile.TiffWriter(path) as tiff:
        common = {"photometric": "rgb", "tile": (64, 64), "metadata": None}
        tiff.write(LABEL, photometric="rgb", description="Label", metadata=None)
        tiff.write(SCAN, subifds=1, resolution=(20_000, 20_000), resolutionunit=3, **common)
        tiff.write(half(SCAN), subfiletype=1, resolution=(10_000, 10_000), resolutionunit=3, **common)
    with Slide(path) as slide:
        assert [v["downsample"] for v in slide.describe()["levels"]] == [1, 2]
        assert off(slide.read(0, 0, 320, 240, 1.0), half(SCAN)) <= 1


@pytest.mark.parametrize("compression", ["jpeg", "deflate", "zstd"])
def test_levels_padded_to_whole_tiles(tmp_path: Path, compression: str) -> None:
    """Levels of 1/2 and 1/4, in tiles of 128, that state their scale."""
    images = [Image(SCAN, 0.5, options={"tile": (128, 128), "compression": compression})]
    for by in (2, 4):
        small = half(SCAN, by)
        padded = np.full((-(-small.shape[0] // 128) * 128, -(-small.shape[1] // 128) * 128, 3), 255, np.uint8)
        padded[: small.shape[0], : small.shape[1]] = small
        options = {"subfiletype": 1, "tile": (128, 128), "compression": compression}
        images.append(Image(padded, 0.5 * by, options=options))
    with Slide(write(tmp_path / "s.tif", images)) as slide:
        assert [v["downsample"] for v in slide.describe()["levels"]] == [1, 2, 4]
        by_level_0 = half(SCAN, 4).astype(int)
        got = slide.read(0, 0, 160, 120, 2.0).astype(int)
        assert np.abs(got - by_level_0).mean() < (12 if compression == "jpeg" else 1)


def test_a_16_bit_scan_is_refused_for_that_reason(tmp_path: Path) -> None:
    deep = SCAN.astype(np.uint16) << 8
    thumbnail = Image(half(SCAN, 4), None, tiled=False)
    for tiled in (True, False):
        path = write(tmp_path / "s.tif", [Image(deep, 0.5, tiled=tiled), thumbnail])
        with pytest.raises(SlideError, match=r"s\.tif: has 16 bits a sample, and not 8"):
            Slide(path)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"photometric": "separated", "extrasamples": ["UNSPECIFIED"]}, "SEPARATED"),
        ({"photometric": "minisblack", "planarconfig": "contig"}, "MINISBLACK"),
        ({"photometric": "cielab"}, "CIELAB"),
    ],
)
@pytest.mark.parametrize("tiled", [True, False])
def test_other_colours_are_refused_by_name(tmp_path: Path, options: dict[str, Any], reason: str, tiled: bool) -> None:
    pixels = np.concatenate([SCAN, SCAN[..., :1]], -1) if reason == "SEPARATED" else SCAN
    options = {k: v for k, v in options.items() if k != "extrasamples"}
    with pytest.raises(SlideError, match=rf"s\.tif: [^\n]*{reason}[^\n]*not 8-bit RGB"):
        Slide(write(tmp_path / "s.tif", [Image(pixels, 0.5, tiled=tiled, options=options)]))


def test_a_level_that_may_be_padded_and_states_no_scale_is_not_used(tmp_path: Path) -> None:
    """Of 1024 px one of 64 px in one tile of 64: a sixteenth, or as here a 32nd in a quarter of its tile."""
    full = RNG.integers(0, 256, (1024, 1024, 3), np.uint8)
    small = np.full((64, 64, 3), 255, np.uint8)
    small[:32, :32] = half(full, 32)
    path = write(tmp_path / "s.tif", [Image(full, 0.25), Image(small, options={"subfiletype": 1})])
    with Slide(path) as slide:
        assert [v["downsample"] for v in slide.describe()["levels"]] == [1] and not slide.warnings
    stated = write(tmp_path / "t.tif", [Image(full, 0.25), Image(small, 8.0, options={"subfiletype": 1})])
    with Slide(stated) as slide:
        assert [v["downsample"] for v in slide.describe()["levels"]] == [1, 32]


def test_the_finest_image_is_the_slide_though_it_is_marked_as_reduced(tmp_path: Path) -> None:
    path = tmp_path / "s.tif"
    with tifffile.TiffWriter(path) as tiff:
        for image, below in ((QUARTER, 1), (FULL, 0)):
            tiff.write(
                image.pixels, subifds=below, photometric="rgb", tile=(64, 64), metadata=None, subfiletype=1 - below,
                resolution=(1e4 / (image.mpp or 1), 1e4 / (image.mpp or 1)), resolutionunit=3,
            )  # fmt: skip
    with Slide(path) as slide:
        assert slide.size == (640, 480) and slide.mpp.x == pytest.approx(0.5)
