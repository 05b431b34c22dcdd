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


def of_primaries(gamma: float, *primaries: tuple[float, float]) -> tuple[bytes, np.ndarray]:
    """Return a profile of these red, green and blue (x, y) and white D65, and its matrix (3, 3) to XYZ of D65."""
    white = np.array([0.3127, 0.3290, 0.3583]) / 0.3290
    matrix = np.array([(x / y, 1.0, (1 - x - y) / y) for x, y in primaries]).T
    matrix *= np.linalg.solve(matrix, white)
    bradford = np.array([(0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296)])
    d50 = np.array([0.9642, 1.0, 0.8249])
    adapted = np.linalg.solve(bradford, np.diag(bradford @ d50 / (bradford @ white)) @ bradford @ matrix)

    def xyz(values: np.ndarray) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(gamma * 256), 0)
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(79)
    tags = {b"desc": text, b"cprt": b"text\0\0\0\0none", b"wtpt": xyz(d50)}
    tags |= {name: xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), adapted.T, strict=True)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4sI4s4s4s6H", size, b"none", 0x02400000, b"mntr", b"RGB ", b"XYZ ", 2026, 1, 1, 0, 0, 0)
    return head + b"acsp" + bytes(28) + xyz(d50)[8:] + bytes(48) + table + body, matrix


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


@pytest.mark.parametrize("gamma", [1.8, 563 / 256])
def test_colours_of_other_primaries_and_gamma_are_those_of_srgb(gamma: float) -> None:
    """As Adobe RGB; from the colours of H&E, calculated as its matrix and curve say."""
    icc, matrix = of_primaries(gamma, (0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
    correction = correction_of(icc)
    assert correction is not None and profile_name(icc) == "test"
    stained = np.array([[(200, 150, 190), (120, 80, 150), (235, 234, 236), (160, 110, 170)]], np.uint8)
    _, srgb = of_primaries(2.2, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
    linear = (stained / 255.0) ** gamma @ np.linalg.solve(srgb, matrix).T
    wanted = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clip(0) ** (1 / 2.4) - 0.055)
    found = correction.apply(stained, WHITE).astype(float)
    assert np.abs(found - wanted).max() < 1.5
    assert np.abs(found - stained).max() > 4


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
