"""Paint sections, scan them under other glass, light and padding, and print how far the tissue is from the painted.

    python benchmarks/glass.py --seeds 2

Glass of 150 to 255 (step 15); even light, and light that falls off by 20 % to the corners or to the right; white or
black padding of 0 to 60 %, on the right and around. A row is a glass and a light, and holds the worst of its paddings;
exit status 1 where one is off by more than 5 % and not warned of.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from wsi_idc.demo.painter import CLASSES, PaintedSection, paint_section
from wsi_idc.slides.slide import Slide
from wsi_idc.slides.write import write_slide
from wsi_idc.tissue.tissue import TissueMap, find_tissue

GLASS = range(150, 256, 15)
LIGHT = ("even", "corners", "right")
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
BRIGHTEST = 243  # of the glass that is painted
OFF = 0.05


def scanned(section: PaintedSection, glass: int, light: str) -> np.ndarray:
    """Return the section (h, w, 3) uint8 as scanned where empty glass is that bright."""
    height, width = section.labels.shape
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    lost = {"even": 0 * x, "corners": 2 * ((x - 0.5) ** 2 + (y - 0.5) ** 2), "right": x}[light]
    pixels = section.pixels * (1 - 0.2 * lost)[..., None] * (glass / BRIGHTEST)
    return np.rint(pixels).clip(0, 255).astype(np.uint8)


def padded(pixels: np.ndarray, share: float, value: int, *, around: bool) -> np.ndarray:
    """Put pixels into an image of which `share` is of one grey value, on their right or around them."""
    height, width = pixels.shape[:2]
    side = (1 / (1 - share)) ** (0.5 if around else 1)
    rows, columns = round(height * side) if around else height, round(width * side)
    top, left = ((rows - height) // 2, (columns - width) // 2) if around else (0, 0)
    out = np.full((rows, columns, 3), value, np.uint8)
    out[top : top + height, left : left + width] = pixels
    return out


def look(pixels: np.ndarray, folder: Path) -> TissueMap:
    """Find the tissue of pixels at 4 um/px, as on a slide."""
    with Slide(write_slide(folder / "s.tif", pixels, 4.0, downsamples=(1,), compression="deflate")) as slide:
        return find_tissue(slide)


@click.command()
@click.option("--seeds", default=1, show_default=True, help="So many sections.")
def main(seeds: int) -> None:
    """Print the table."""
    silent, tried = 0, 0
    click.echo("section  glass  light     worst  warned  silent")
    for seed, glass, light in product(range(1, seeds + 1), GLASS, LIGHT):
        section = paint_section(3.0, 2.4, 4.0, seed=seed)
        tissue = (section.labels != CLASSES.index("glass")) & (section.labels != CLASSES.index("ink"))
        painted = float(tissue.sum()) * 16e-6
        pixels, offs, warned, missed = scanned(section, glass, light), [], 0, 0
        for share, value, around in product(SHARES, (0, 255), (False, True)):
            if share == 0 and (value, around) != (255, False):
                continue
            with TemporaryDirectory() as folder:
                found = look(padded(pixels, share, value, around=around), Path(folder))
            offs.append(found.tissue_mm2 / painted - 1)
            warned += bool(found.warnings)
            missed += abs(offs[-1]) > OFF and not found.warnings
        tried, silent = tried + len(offs), silent + missed
        click.echo(f"{seed:7}  {glass:5}  {light:8}  {max(offs, key=abs):+.1%}  {warned:6}  {missed:6}")
    click.echo(f"{silent} of {tried} off by more than {OFF:.0%} and not warned of")
    sys.exit(silent > 0)


if __name__ == "__main__":
    main()
