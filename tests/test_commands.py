"""Every block of commands in README and docs is run, page by page, but for those that say why not.

A block is left out by a line before it: `<!-- not run: the reason -->`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from helpers import write_patches

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"(?:<!-- not run: (?P<why>[^>]+) -->\n)?```(?P<language>sh|python)\n(?P<code>.*?)```", re.DOTALL)


def blocks(page: str) -> list[tuple[str, str, str]]:
    """Language, code and the reason not to run it, "" where it is to be run."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [(m["language"], m["code"], m["why"] or "") for m in _BLOCK.finditer(text)]


PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if any(not why for _, _, why in blocks(page.relative_to(ROOT).as_posix()))
)


@pytest.fixture(scope="module")
def world(painted, section, tmp_path_factory) -> Path:
    """What the pages take for granted: slides, outlines, patches, by the names that they give them."""
    folder = tmp_path_factory.mktemp("world")
    for name in ("slide.svs", "slides/a.tif", "more/b.svs", "archive/first.tif", "archive/2026/c.tif"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(painted, folder / name)
    (folder / "cases.txt").write_text("archive/2026/c.tif\n")
    pixels = section.pixels[:400, :400]
    tifffile.imwrite(folder / "no-scale.tif", pixels, tile=(256, 256), photometric="rgb", metadata=None)
    with tifffile.TiffWriter(folder / "two-scans.ome.tif", ome=True) as both:
        for part in (section.pixels, np.ascontiguousarray(section.pixels[::-1])):
            scale = {"axes": "YXS", "PhysicalSizeX": 4.0, "PhysicalSizeY": 4.0}
            both.write(part, tile=(256, 256), photometric="rgb", metadata=scale)
    corner = [[200, 150], [400, 150], [400, 350], [200, 350], [200, 150]]
    drawn = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [corner]},
        "properties": {"objectType": "annotation", "classification": {"name": "IDC"}},
    }
    (folder / "corrected.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [drawn]}))
    points = "".join(f'<Coordinate Order="{n}" X="{x}" Y="{y}"/>' for n, (x, y) in enumerate(corner[:-1]))
    (folder / "drawn.xml").write_text(
        '<ASAP_Annotations><Annotations><Annotation Name="1" Type="Polygon" PartOfGroup="Tumor">'
        f"<Coordinates>{points}</Coordinates></Annotation></Annotations></ASAP_Annotations>"
    )
    write_patches(folder / "PATCHES", [str(n) for n in range(10264, 10280)], size=50)
    return folder


@pytest.fixture(scope="module")
def command(tmp_path_factory) -> dict[str, str]:
    """An environment in which `wsi-idc` is the command of this checkout."""
    folder = tmp_path_factory.mktemp("bin")
    shim = folder / "wsi-idc"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m wsi_idc "$@"\n')
    shim.chmod(0o755)
    paths = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return os.environ | {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(p for p in paths if p),
    }


@pytest.mark.skipif(os.name == "nt", reason="the pages are for a POSIX shell")
@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run_one_after_the_other(page, world, command, tmp_path):
    place = tmp_path / "world"
    shutil.copytree(world, place)
    # Most pages take the first run for granted.
    if page.startswith("docs/") and "tutorials/f" not in page:
        subprocess.run(["wsi-idc", "segment", "slide.svs", "-o", "results"], cwd=place, env=command, check=True)
    for language, code, why in blocks(page):
        if why:
            continue
        run = ["bash", "-euo", "pipefail", "-c", code] if language == "sh" else [sys.executable, "-c", code]
        done = subprocess.run(run, cwd=place, env=command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{page}:\n{code}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"


def test_a_block_that_is_not_run_says_why():
    pages = [p.relative_to(ROOT).as_posix() for p in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]]
    left_out = [why for page in pages for _, _, why in blocks(page) if why]
    assert left_out and all(len(why.split()) >= 3 for why in left_out)
