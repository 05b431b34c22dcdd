from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import openslide
import pytest
from click.testing import CliRunner

SIDE = 2048


@pytest.fixture(scope="module")
def make_slide() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "make_slide.py"
    spec = importlib.util.spec_from_file_location("make_slide", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_slide"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pyramid(make_slide: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pyramid from the painted source, without a look at real slides."""
    out = tmp_path_factory.mktemp("made") / "made.svs"
    arguments = [str(out), "--side", str(SIDE), "--pyramid"]
    done = CliRunner(env={"WSI_IDC_DATA": str(out.parent)}).invoke(make_slide.main, arguments)
    assert done.exit_code == 0, done.output
    return out


def level(slide: openslide.OpenSlide, index: int) -> np.ndarray:
    image = slide.read_region((0, 0), index, slide.level_dimensions[index])
    return np.asarray(image)[..., :3]


def test_openslide_takes_it_for_an_aperio_slide(pyramid: Path) -> None:
    with openslide.OpenSlide(pyramid) as slide:
        assert slide.properties["openslide.vendor"] == "aperio"
        assert slide.properties["openslide.mpp-x"] == slide.properties["openslide.mpp-y"] == "0.25"
        assert slide.properties["openslide.objective-power"] == "40"
        assert slide.level_dimensions == ((2048, 2048), (512, 512), (128, 128), (32, 32))
        assert slide.level_downsamples == (1, 4, 16, 64)


def test_a_third_of_it_is_tissue(pyramid: Path) -> None:
    with openslide.OpenSlide(pyramid) as slide:
        green = level(slide, 0)[..., 1]
    assert 0.25 < (green < 225).mean() < 0.45


def test_levels_are_means_of_level_0(pyramid: Path) -> None:
    with openslide.OpenSlide(pyramid) as slide:
        whole = level(slide, 0)
        for index, factor in ((1, 4), (2, 16), (3, 64)):
            size = SIDE // factor
            means = whole.reshape(size, factor, size, factor, 3).mean((1, 3))
            off = np.abs(level(slide, index) - means)
            # Two roundings and JPEG of quality 100.
            assert off.max() < 6 and off.mean() < 0.8


def test_the_seed_decides_where_tissue_lies(make_slide: ModuleType, tmp_path: Path) -> None:
    source = make_slide.default_source(tmp_path)
    files = []
    for i, seed in enumerate((0, 0, 1)):
        make_slide.write(tmp_path / f"{i}.svs", 1000, False, source, seed)
        files.append((tmp_path / f"{i}.svs").read_bytes())
    assert files[0] == files[1] != files[2]
