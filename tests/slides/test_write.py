from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile

from wsi_idc.demo.painter import PaintedSection, paint_section
from wsi_idc.slides.write import write_slide


@pytest.fixture(scope="module")
def small() -> PaintedSection:
    return paint_section(2.0, 2.0, mpp=2.0, seed=1)


def test_openslide_reads_the_slide(small: PaintedSection, tmp_path: Path) -> None:
    path = write_slide(tmp_path / "s.tif", small.pixels, 0.5027)
    with openslide.OpenSlide(path) as slide:
        assert slide.dimensions == (1000, 1000)
        assert slide.level_dimensions == ((1000, 1000), (250, 250), (62, 62))
        assert slide.level_downsamples == pytest.approx((1, 4, 16), rel=0.02)
        for axis in "xy":
            assert float(slide.properties[f"openslide.mpp-{axis}"]) == pytest.approx(0.5027, rel=1e-3)
        read = np.asarray(slide.read_region((300, 300), 0, (256, 256)).convert("RGB")).astype(int)
    assert np.abs(read - small.pixels[300:556, 300:556]).mean() < 6
    assert [p.name for p in tmp_path.iterdir()] == ["s.tif"]


@pytest.mark.parametrize("compression", ["none", "deflate"])
def test_lossless_levels(small: PaintedSection, tmp_path: Path, compression: str) -> None:
    pixels = small.pixels[:603, :514]
    path = write_slide(tmp_path / "s.tif", pixels, 1.0, downsamples=(1, 2, 8), tile=128, compression=compression)
    with tifffile.TiffFile(path) as tiff:
        levels = [page.asarray() for page in tiff.pages]
        assert all(page.is_tiled for page in tiff.pages)
        assert [page.is_reduced for page in tiff.pages] == [False, True, True]
    assert np.array_equal(levels[0], pixels)
    with openslide.OpenSlide(path) as slide:
        assert slide.level_count == 3
        assert np.array_equal(np.asarray(slide.read_region((0, 0), 0, (514, 603)))[..., :3], pixels)
    for d, level in zip((2, 8), levels[1:], strict=True):
        h, w = 603 // d, 514 // d
        means = pixels[: h * d, : w * d].reshape(h, d, w, d, 3).mean((1, 3))
        assert level.shape == (h, w, 3)
        assert np.abs(level - means).max() <= 1


def test_bad_pyramids_are_refused(small: PaintedSection, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="downsample"):
        write_slide(tmp_path / "s.tif", small.pixels, 2.0, downsamples=(2, 4))
    with pytest.raises(ValueError, match="compression"):
        write_slide(tmp_path / "s.tif", small.pixels, 2.0, compression="lzw")
    assert not list(tmp_path.iterdir())
