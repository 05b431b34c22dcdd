from __future__ import annotations

import os
from pathlib import Path

import pytest

from wsi_idc.painter import PaintedSection, paint_section
from wsi_idc.pyramid import write_slide


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = Path(os.environ.get("WSI_IDC_DATA") or Path(__file__).parents[2] / "shared")
    if not (folder / "slides").is_dir():
        pytest.skip(f"no real slides under {folder}")
    return folder


@pytest.fixture(scope="session")
def section() -> PaintedSection:
    return paint_section(3.0, 2.4, 4.0, seed=1)


@pytest.fixture(scope="session")
def painted(section: PaintedSection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("painted") / "painted.tif"
    return write_slide(path, section.pixels, section.mpp, downsamples=(1, 4), compression="deflate")
