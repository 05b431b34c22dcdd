from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wsi_idc.demo.painter import CLASSES, PaintedSection, paint_section
from wsi_idc.slides.write import write_slide

LABEL = {name: i for i, name in enumerate(CLASSES)}


@pytest.fixture(scope="module")
def coarse() -> PaintedSection:
    return paint_section(mpp=4.0, seed=3)


@pytest.fixture(scope="module")
def small() -> PaintedSection:
    return paint_section(2.0, 2.0, mpp=2.0, seed=1)


def test_same_seed_gives_the_same_bytes(small: PaintedSection, tmp_path: Path) -> None:
    again = paint_section(2.0, 2.0, mpp=2.0, seed=1)
    assert np.array_equal(again.pixels, small.pixels)
    assert np.array_equal(again.labels, small.labels)
    files = [write_slide(tmp_path / f"{i}.tif", s.pixels, s.mpp).read_bytes() for i, s in enumerate((small, again))]
    assert files[0] == files[1]


def test_another_seed_gives_another_section(small: PaintedSection) -> None:
    other = paint_section(2.0, 2.0, mpp=2.0, seed=2)
    assert (other.labels != small.labels).mean() > 0.05


def test_forms_and_sizes(coarse: PaintedSection, small: PaintedSection) -> None:
    assert coarse.pixels.shape == (1500, 2000, 3) and coarse.pixels.dtype == np.uint8
    assert coarse.labels.shape == (1500, 2000) and coarse.labels.dtype == np.uint8
    assert coarse.mpp == 4.0
    assert small.labels.shape == (1000, 1000)
    assert (small.labels == LABEL["tumour"]).any()


@pytest.mark.parametrize(("width", "height", "mpp"), [(1.0, 1.0, 4.0), (1.13, 2.37, 3.3), (3.1, 1.2, 4.0), (1, 1, 0.5)])
def test_any_size(width: float, height: float, mpp: float) -> None:
    section = paint_section(width, height, mpp=mpp, seed=0)
    assert section.labels.shape == (round(height * 1000 / mpp), round(width * 1000 / mpp))
    assert {LABEL["glass"], LABEL["stroma"]} <= set(np.unique(section.labels).tolist())


def test_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 mm"):
        paint_section(0.9, 2.0)


@pytest.mark.parametrize("name", ["coarse", "small"])
def test_margin_is_bare_glass(name: str, request: pytest.FixtureRequest) -> None:
    section: PaintedSection = request.getfixturevalue(name)
    edge = int(200 / section.mpp)
    margin = np.ones(section.labels.shape, bool)
    margin[edge:-edge, edge:-edge] = False
    assert (section.labels[margin] == LABEL["glass"]).all()
    assert section.pixels[margin].min() > 230


def test_anatomy_of_the_default_section(coarse: PaintedSection) -> None:
    share = np.bincount(coarse.labels.ravel(), minlength=len(CLASSES)) / coarse.labels.size
    assert (share > 0.001).all()
    assert 0.35 < share[LABEL["glass"]] < 0.45
    assert 0.05 < share[LABEL["tumour"]] < 0.25


def test_tumour_holds_the_most_haematoxylin(coarse: PaintedSection) -> None:
    # Haematoxylin takes out red light; eosin hardly does.
    red = -np.log(np.maximum(coarse.pixels[..., 0], 1) / 243)
    mean = {name: float(red[coarse.labels == i].mean()) for name, i in LABEL.items()}
    assert mean["tumour"] > 2 * mean["stroma"]
    assert mean["stroma"] > mean["fat"] > mean["glass"]
    assert abs(mean["glass"]) < 0.01


def test_anatomy_does_not_depend_on_the_scale() -> None:
    fine, rough = (paint_section(3.0, 2.0, mpp=mpp, seed=5) for mpp in (2.0, 4.0))
    assert (fine.labels[::2, ::2] == rough.labels).mean() > 0.97
    blocks = fine.pixels.reshape(500, 2, 750, 2, 3).mean((1, 3))
    assert np.abs(blocks - rough.pixels).mean() < 12
