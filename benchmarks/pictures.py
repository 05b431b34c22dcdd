"""The pictures of the README, made anew: what `wsi-idc demo` draws, and its result in `wsi-idc view`, by Chromium.

python benchmarks/pictures.py docs
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from wsi_idc.demo.demo import run_demo

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browser import Tab, serving, wait_for

_WIDTH, _HEIGHT = 1280, 800
# The numbers are there, and no tile is on its way.
_SHOWN = """(() => {
  const tiles = [...document.querySelectorAll("img.leaflet-tile")];
  const told = document.querySelector("[aria-live]")?.textContent;
  return tiles.length > 0 && tiles.every(e => e.complete) && /foc/.test(told);
})()"""


def main(docs: Path) -> None:
    """Write `demo-overview.jpg` and `demo-viewer.jpg` to a folder."""
    with tempfile.TemporaryDirectory() as folder:
        result = run_demo(Path(folder))
        with Image.open(result.outcome.overview) as overview:
            _keep(overview, docs / "demo-overview.jpg")
        with serving(result.outcome.folder) as address:
            tab = Tab(Path(folder) / "profile", address)
            try:
                tab.look(_WIDTH, _HEIGHT, dark=False)
                wait_for(lambda: tab.run(_SHOWN))
                # Tiles are faded in.
                time.sleep(1)
                tab.shot(Path(folder) / "viewer.png")
            finally:
                tab.close()
        with Image.open(Path(folder) / "viewer.png") as viewer:
            _keep(viewer, docs / "demo-viewer.jpg")


def _keep(picture: Image.Image, path: Path) -> None:
    small = picture.convert("RGB")
    small.thumbnail((_WIDTH, _WIDTH), Image.Resampling.LANCZOS)
    small.save(path, quality=85, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
