from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsi_idc.slides.slide import Slide

RNG = np.random.default_rng(2)
MACRO = np.full((152, 52, 3), 200, np.uint8)
ONE, TWO = (RNG.integers(0, 256, (h, w, 3), np.uint8) for h, w in ((256, 384), (200, 300)))


def xml(scales: tuple[float, float]) -> str:
    """Describe a macro photo of 26 x 76 mm and two scans, of 2 levels and of 1, with um per pixel."""

    def image(name: str, view: tuple[int, int, int, int], dims: list[tuple[int, int, int]]) -> str:
        width, height, x, y = view
        levels = "".join(f'<dimension sizeX="{w}" sizeY="{h}" r="{r}" ifd="{i}"/>' for r, (w, h, i) in enumerate(dims))
        return (
            f'<image name="{name}"><pixels sizeX="{dims[0][0]}" sizeY="{dims[0][1]}">{levels}</pixels>'
            f'<view sizeX="{width}" sizeY="{height}" offsetX="{x}" offsetY="{y}"/>'
            "<scanSettings><objectiveSettings><objective>5</objective></objectiveSettings>"
            "<illuminationSettings><illuminationSource>brightfield</illuminationSource></illuminationSettings>"
            "</scanSettings></image>"
        )

    def view(pixels: np.ndarray, um: float, at: int) -> tuple[int, int, int, int]:
        return int(pixels.shape[1] * um * 1000), int(pixels.shape[0] * um * 1000), at, at

    return (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01" uuid="urn:uuid:1">'
        '<collection name="c" uuid="urn:uuid:2" sizeX="26000000" sizeY="76000000">'
        + image("macro", (26_000_000, 76_000_000, 0, 0), [(52, 152, 0)])
        + image("one", view(ONE, scales[0], 1_000_000), [(384, 256, 1), (192, 128, 2)])
        + image("two", view(TWO, scales[1], 9_000_000), [(300, 200, 3)])
        + "</collection></scn>"
    )


def write(path: Path, scales: tuple[float, float]) -> Path:
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for i, pixels in enumerate((MACRO, ONE, ONE[::2, ::2], TWO)):
            description = {"description": xml(scales)} if i == 0 else {}
            tiff.write(pixels, photometric="rgb", tile=(64, 64), metadata=None, compression="jpeg", **description)
    return path


def test_scans_of_different_scale_are_read_one_at_a_time_and_named(tmp_path: Path) -> None:
    path = write(tmp_path / "s.scn", (0.5, 1.0))
    with Slide(path) as slide:
        assert slide.size == (384, 256) and slide.mpp.x == pytest.approx(0.5)
        assert [i["role"] for i in slide.images] == ["macro", "slide", "scan"]
        assert "image 1 was looked at, not 2 (300 x 200 px)" in slide.warnings[0]
        assert [v["downsample"] for v in slide.describe()["levels"]] == [1, 2]
    with Slide(path, series=2) as slide:
        assert slide.size == (300, 200) and slide.mpp.x == pytest.approx(1.0)
