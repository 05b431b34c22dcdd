from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import ImageCms

from wsi_idc.slides.colour import correction_of, profile_name
from wsi_idc.slides.slide import Slide

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
WHITE = (255, 255, 255)


def swapped() -> bytes:
    """Return sRGB with the primaries of red and blue in each other's place: so it is a profile of BGR."""
    data = bytearray(SRGB)
    count = struct.unpack(">I", data[128:132])[0]
    for at in range(132, 132 + 12 * count, 12):
        name = bytes(data[at : at + 4])
        data[at : at + 4] = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}.get(name, name)
    return bytes(data)


def write(path: Path, pixels: np.ndarray, icc: bytes | None, tiled: bool = True, jpeg: bool = False) -> Path:
    """Write pixels at 2 um/px with a profile, for OpenSlide (tiles), or for tifffile alone."""
    layout: dict[str, object] = {"tile": (64, 64)} if tiled else {"rowsperstrip": 16}
    compression = {"compression": "jpeg", "compressionargs": {"level": 95}} if jpeg else {"compression": "deflate"}
    tags = [(34675, 7, len(icc), icc, True)] if icc else []
    scale = {"resolution": (5000, 5000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, photometric="rgb", metadata=None, extratags=tags, **scale, **layout, **compression)
    return path


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    out = np.full((128, 192, 3), 255, np.uint8)
    out[:, :64], out[:, 64:128] = (200, 60, 90), (30, 120, 220)
    return out


def test_a_profile_is_named() -> None:
    assert profile_name(SRGB) == "sRGB built-in"
    assert profile_name(b"no profile") is None


def test_a_profile_of_bgr_swaps_red_and_blue(pixels: np.ndarray) -> None:
    correction = correction_of(swapped())
    assert correction is not None
    found = correction.apply(pixels, WHITE)
    assert np.abs(found.astype(int) - pixels[..., ::-1]).max() <= 1
    assert (found[:, 128:] == 255).all()


def test_what_no_scanner_saw_stays() -> None:
    correction = correction_of(swapped())
    assert correction is not None
    background = np.full((4, 4, 3), (10, 20, 200), np.uint8)
    assert np.array_equal(correction.apply(background, (10, 20, 200)), background)


def test_a_profile_that_is_not_of_rgb_corrects_nothing() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert correction_of(lab) is None and correction_of(b"") is None


@pytest.mark.parametrize("kind", ["openslide", "jpeg-tiles", "tifffile"])
def test_a_slide_names_its_profile_and_applies_it_where_asked(tmp_path: Path, pixels: np.ndarray, kind: str) -> None:
    path = tmp_path / "slide.tif"
    write(path, pixels, swapped(), tiled=kind != "tifffile", jpeg=kind == "jpeg-tiles")
    with Slide(path) as left, Slide(path, icc="apply") as applied:
        assert left.describe()["reader"] == kind
        assert left.describe()["icc_profile"] == applied.icc_profile == "sRGB built-in"
        assert left.warnings == applied.warnings == () and left.correction is None
        for mpp in (2.0, 4.0):
            size = round(384 / mpp), round(256 / mpp)
            one, two = (slide.read(0, 0, *size, mpp).astype(int) for slide in (left, applied))
            assert np.abs(two - one[..., ::-1]).max() <= 2


@pytest.mark.parametrize(("icc", "reason"), [(None, "is missing"), (b"no profile", "cannot be applied")])
def test_what_cannot_be_applied_is_said(tmp_path: Path, pixels: np.ndarray, icc: bytes | None, reason: str) -> None:
    path = write(tmp_path / "slide.tif", pixels, icc, tiled=False)
    with Slide(path) as slide:
        assert slide.warnings == () and slide.icc_profile == ("cannot be read" if icc else None)
    with Slide(path, icc="apply") as slide:
        assert [w for w in slide.warnings if "ICC" in w and reason in w]
        assert np.array_equal(slide.read(0, 0, 192, 128, 2.0), pixels)


def test_pixels_need_not_lie_in_rows() -> None:
    correction = correction_of(SRGB)
    assert correction is not None
    image = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    assert np.abs(correction.apply(image.swapaxes(0, 1), WHITE).astype(int) - image.swapaxes(0, 1)).max() <= 1
