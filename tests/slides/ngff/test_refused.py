"""OME-Zarr that is no slide, or is damaged: refused with the reason."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsi_idc.errors import SlideError
from wsi_idc.slides.slide import Slide

from stores import change_attributes, multiscale, write_group, write_image, write_level

RNG = np.random.default_rng(7)
# With black, which is not what is missing.
PIXELS = RNG.integers(0, 256, (300, 420, 3), np.uint8)


GREYSCALE = {"channels": [{"label": "DAPI", "color": "0000FF"}, {"label": "FITC"}, {"label": "TRITC"}]}


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"omero": GREYSCALE}, r"has 3 samples of separate channels, not RGB \(DAPI, FITC, TRITC\) a pixel"),
        ({"omero": {"channels": [{"color": c} for c in ("FF00FF", "00FFFF", "FFFF00")]}}, "separate channels, not RGB"),
        ({"version": "0.6"}, "of version 0.6; 0.4 and 0.5 are read"),
        ({"version": "0.3"}, "of version 0.3; 0.4 and 0.5 are read"),
        ({"image-label": {"version": "0.5"}}, "holds labels, which are not pixels of a slide"),
        ({"plate": {"wells": []}}, r"is a plate of many wells \(HCS\), not a slide"),
        ({"multiscales": []}, "without an OME-Zarr image"),
        ({"multiscales": {"axes": 1}}, "its multiscales are no list"),
    ],
)
def test_what_is_no_slide_is_refused_with_its_reason(tmp_path: Path, attributes: dict[str, Any], reason: str) -> None:
    path = write_image(tmp_path / "a.zarr", PIXELS)
    change_attributes(path, attributes)
    with pytest.raises(SlideError, match=reason):
        Slide(path)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.ones((3, 90, 120), np.uint16), "has 16 bits a sample, and not 8"),
        (np.ones((3, 90, 120), np.int8), "has signed samples"),
        (np.ones((3, 90, 120), np.float32), "has 32 bits a sample"),
        (np.ones((1, 90, 120), np.uint8), "has 1 samples of grey"),
        (np.ones((4, 90, 120), np.uint8), "has 4 samples of separate channels"),
        (np.ones((3, 5, 90, 120), np.uint8), "has the shape"),
    ],
)
def test_pixels_that_are_not_rgb_of_8_bits(tmp_path: Path, values: np.ndarray, reason: str) -> None:
    group = write_group(tmp_path / "a.zarr", {"multiscales": [multiscale("cyx", 0.5, (1,))]})
    write_level(group, "0", values, values.shape)
    with pytest.raises(SlideError, match=reason):
        Slide(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        '{"zarr_format": 3, "attributes": {"ome": {"multiscales": [3]}}}',
        '{"attributes": ["ome"]}',
        "[" * 5000,
    ],
)
def test_attributes_that_are_damaged(tmp_path: Path, text: str) -> None:
    path = write_image(tmp_path / "a.zarr", PIXELS)
    (path / "zarr.json").write_text(text)
    with pytest.raises(SlideError, match=r"a\.zarr"):
        Slide(path)


def test_a_pipe_in_the_place_of_what_describes_a_store_is_not_waited_for(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.zarr", PIXELS)
    (path / "OME").mkdir()
    os.mkfifo(path / "OME" / "METADATA.ome.xml")
    with Slide(path) as slide:
        assert slide.size == (420, 300)


@pytest.mark.parametrize("path", ["../../b", "/etc", ""])
def test_levels_that_lie_outside_of_the_store(tmp_path: Path, path: str) -> None:
    one = multiscale("tczyx", 0.5, (1, 2))
    one["datasets"][0]["path"] = path
    with pytest.raises(SlideError, match="no place in the store"):
        Slide(write_image(tmp_path / "a.zarr", PIXELS, change=one))


def test_chunks_that_nothing_can_decode(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.zarr", PIXELS)
    file = path / "0" / "zarr.json"
    found = json.loads(file.read_text())
    found["shape"] = [1, 3, 1, 200_000, 200_000]
    found["chunk_grid"]["configuration"]["chunk_shape"] = [1, 1, 1, 100_000, 100_000]
    file.write_text(json.dumps(found))
    with pytest.raises(SlideError, match="more than can be decoded"):
        Slide(path)
