"""Codes of tiles that claim a larger picture than the TIFF: refused by what they say, before anything is decoded."""

from contextlib import suppress
from functools import cache
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_idc.errors import SlideError
from wsi_idc.slides.slide import Slide
from wsi_idc.slides.tiff.claims import AVIF, check_claim

TILE, LARGE = 64, 1024
# The number of each codec in TIFF, and what encodes it. JPEG is given one that OpenSlide declines.
CODECS = {
    "JPEG": (34892, imagecodecs.jpeg8_encode),
    "JPEG 2000": (34712, lambda a: imagecodecs.jpeg2k_encode(a, codecformat="j2k")),
    "JPEG 2000 in boxes": (33005, lambda a: imagecodecs.jpeg2k_encode(a, codecformat="jp2")),
    "PNG": (34933, imagecodecs.png_encode),
    "WebP": (50001, lambda a: imagecodecs.webp_encode(a, level=80)),
    "WebP without loss": (34927, lambda a: imagecodecs.webp_encode(a, lossless=True)),
    "JPEG XL": (50002, imagecodecs.jpegxl_encode),
    "JPEG XL without loss": (50002, lambda a: imagecodecs.jpegxl_encode(a, lossless=True)),
    "JPEG XL in boxes": (52546, lambda a: imagecodecs.jpegxl_encode(a, usecontainer=True)),
    "JPEG XR": (34934, imagecodecs.jpegxr_encode),
    "LERC": (34887, imagecodecs.lerc_encode),
    "AVIF": (60001, lambda a: imagecodecs.avif_encode(a, level=90, speed=10)),
}
ENCODERS = {"AVIF": "AVIF", "JPEG XR": "JPEGXR", "LERC": "LERC"}


@cache
def encoded(codec: str, side: int) -> bytes:
    if not getattr(imagecodecs, ENCODERS.get(codec, "PNG")).available:
        pytest.skip(f"imagecodecs without {codec}")
    shades = np.linspace(100, 200, side).astype(np.uint8)
    pixels = np.stack([shades[:, None].repeat(side, 1), shades[None].repeat(side, 0), np.full((side, side), 180)], -1)
    return CODECS[codec][1](np.ascontiguousarray(pixels, np.uint8))


def written(path: Path, codec: str, first: bytes) -> Path:
    """Write a slide of four tiles, of which the first holds the codes given."""
    tiles = iter([first, *[encoded(codec, TILE)] * 3])
    scale = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(
            tiles,
            shape=(2 * TILE, 2 * TILE, 3),
            dtype=np.uint8,
            tile=(TILE, TILE),
            photometric="rgb",
            compression="zstd",
            **scale,
        )
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags["Compression"].overwrite(CODECS[codec][0])
    return path


@pytest.mark.parametrize("codec", CODECS)
def test_what_is_as_large_as_its_tile_is_read(tmp_path: Path, codec: str) -> None:
    with Slide(written(tmp_path / "s.tif", codec, encoded(codec, TILE))) as slide:
        assert abs(slide.read(0, 0, 2 * TILE, 2 * TILE, 0.5)[..., 2].mean() - 180) < 15


@pytest.mark.parametrize("codec", CODECS)
def test_a_larger_picture_is_not_decoded(tmp_path: Path, codec: str) -> None:
    path = written(tmp_path / "s.tif", codec, encoded(codec, LARGE))
    with Slide(path) as slide:
        with pytest.raises(SlideError, match=f"x=0, y=0 cannot be decoded .its codes claim {LARGE} x {LARGE} px"):
            slide.read(0, 0, 10, 10, 0.5)
        assert abs(slide.read(TILE, TILE, TILE, TILE, 0.5)[..., 2].mean() - 180) < 15


@pytest.mark.parametrize("codec", CODECS)
def test_codes_that_are_cut_or_others_are_not_decoded(codec: str) -> None:
    codes = encoded(codec, LARGE)
    for damaged in (b"", codes[:1], codes[:3], bytes(200), codes[1:]):
        with pytest.raises(ValueError, match="its codes do not say how large they are"):
            check_claim(number(codec), damaged, TILE**2)


@pytest.mark.parametrize("codec", CODECS)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_whatever_the_codes_are_there_is_an_answer(codec: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = bytearray(encoded(codec, TILE))
    for place in rng.integers(0, min(len(codes), 300), 3):
        codes[place] = rng.integers(256)
    with suppress(ValueError):
        check_claim(number(codec), bytes(codes), TILE**2)


def number(codec: str) -> int:
    return AVIF if codec == "AVIF" else CODECS[codec][0]


def small_frame(codes: bytes) -> bytes:
    """Put a comment before the frame of JPEG in which a small one is stated."""
    inside = bytes.fromhex("ffc0001108") + TILE.to_bytes(2, "big") * 2 + bytes(10)
    return codes[:2] + b"\xff\xfe" + (len(inside) + 2).to_bytes(2, "big") + inside + codes[2:]


def small_file(codes: bytes) -> bytes:
    """Have the boxes of AVIF state a small picture."""
    at = codes.index(b"ispe") + 8
    return codes[:at] + TILE.to_bytes(4, "big") * 2 + codes[at + 8 :]


def small_tags(codes: bytes) -> bytes:
    """Have the tags of JPEG XR state a small picture."""
    large, small = LARGE.to_bytes(4, "little"), TILE.to_bytes(4, "little")
    return codes[: codes.index(b"WMPHOTO")].replace(large, small) + codes[codes.index(b"WMPHOTO") :]


def small_box(codes: bytes) -> bytes:
    """Put a box before that of the codes of JPEG 2000 in which a small picture is stated."""
    inside = b"\xff\x4f\xff\x51" + bytes(4) + TILE.to_bytes(4, "big") * 2 + bytes(30)
    at = codes.index(b"jp2c") - 4
    return codes[:at] + (len(inside) + 8).to_bytes(4, "big") + b"free" + inside + codes[at:]


LIES = {"JPEG": small_frame, "AVIF": small_file, "JPEG XR": small_tags, "JPEG 2000 in boxes": small_box}


@pytest.mark.parametrize("codec", LIES)
def test_a_small_size_beside_that_of_the_codes_deceives_nobody(codec: str) -> None:
    codes = LIES[codec](encoded(codec, LARGE))
    with pytest.raises(ValueError, match=f"claim {LARGE} x {LARGE} px"):
        check_claim(number(codec), codes, TILE**2)


def test_samples_and_tiles_within_count_too() -> None:
    codes = bytearray(encoded("JPEG 2000", TILE))
    codes[40:42] = (16_000).to_bytes(2, "big")
    with pytest.raises(ValueError, match="claim 64 x 64 px of 16000 samples"):
        check_claim(34712, bytes(codes), TILE**2)
    codes = bytearray(encoded("JPEG 2000", TILE))
    codes[24:32] = (1).to_bytes(4, "big") * 2
    with pytest.raises(ValueError, match="claim 4,096 tiles of their own"):
        check_claim(34712, bytes(codes), TILE**2)
    blob = imagecodecs.lerc_encode(np.full((TILE, TILE, 3), 180, np.uint8))
    with pytest.raises(ValueError, match=f"claim 64 x 64 px of {3 * 200} samples"):
        check_claim(34887, blob * 200, TILE**2)
