"""Made for the tests: painted sections as other scanners would give them, with other glass, light and padding."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from wsi_idc.demo.painter import CLASSES, PaintedSection
from wsi_idc.slides.scale import Mpp

WHITE_OF_PAINTER = 243


class Scan:
    """Stands for a slide of these pixels, (h, w, 3) uint8 at 4 um/px, where tissue is looked for."""

    path, mpp, background = Path("scan"), Mpp(4.0, 4.0, "test"), (255, 255, 255)

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels, self.size = pixels, (pixels.shape[1], pixels.shape[0])

    def read(self, x: float, y: float, width: int, height: int, mpp: float) -> np.ndarray:
        assert mpp == 4.0
        out = np.full((height, width, 3), 255, np.uint8)
        part = self.pixels[round(y) : round(y) + height, round(x) : round(x) + width]
        out[: part.shape[0], : part.shape[1]] = part
        return out


def painted_mm2(section: PaintedSection) -> float:
    """Return the area of what is painted as tissue."""
    tissue = (section.labels != CLASSES.index("glass")) & (section.labels != CLASSES.index("ink"))
    return float(tissue.sum()) * (section.mpp / 1000) ** 2


def scanned(section: PaintedSection, glass: int, light: str = "even", fall_off: float = 0.2) -> np.ndarray:
    """Scale a section so that its glass is of that brightness where most light falls, less by `fall_off` elsewhere."""
    height, width = section.labels.shape
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    far = (x - 0.5) ** 2 + (y - 0.5) ** 2
    lost = {
        "even": np.zeros_like(x),
        "radial": 2 * far,
        "centre": 1 - 2 * far,
        "left": x,
        "corner": (x + y) / 2,
        "columns": 2 * np.abs(4 * x % 1 - 0.5),
    }[light]
    pixels = section.pixels * (1 - fall_off * lost)[..., None] * (glass / WHITE_OF_PAINTER)
    return np.rint(pixels).clip(0, 255).astype(np.uint8)


def padded(pixels: np.ndarray, where: str, share: float, value: int) -> np.ndarray:
    """Put pixels into an image of which `share` is of one grey value: around them, or on their right, or below."""
    height, width = pixels.shape[:2]
    full = 1 / (1 - share)
    sides = {"around": (full**0.5, full**0.5), "right": (1, full), "below": (full, 1)}[where]
    rows, columns = round(height * sides[0]), round(width * sides[1])
    top, left = ((rows - height) // 2, (columns - width) // 2) if where == "around" else (0, 0)
    out = np.full((rows, columns, 3), value, np.uint8)
    out[top : top + height, left : left + width] = pixels
    return out


def as_jpeg(pixels: np.ndarray) -> np.ndarray:
    """Compress pixels as scanners do, and decode them again."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "jpeg", quality=85)
    return np.asarray(Image.open(stream))
