"""Colour profiles (ICC) of slide files: what they are called, and colours brought to sRGB by them, by LittleCMS."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

# What can be done with the profile of a file. Those of the training slides were not applied, nor is any by default.
CHOICES = ("ignore", "apply")

# Bytes of a profile: those of printers have 2 MB.
_LARGEST = 1 << 24


def profile_name(icc: bytes) -> str | None:
    """Return what a profile calls itself, in one line; None where it cannot be read."""
    from PIL import ImageCms

    try:
        name = ImageCms.getProfileDescription(_opened(icc))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    return " ".join(name.split()) or "without a name"


@dataclass(frozen=True, slots=True)
class Correction:
    """Brings the colours of a scanner to sRGB, from several threads at once."""

    transform: Any

    def apply(self, pixels: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
        """Return pixels (h, w, 3) uint8 in sRGB; what is `background` stays, since no scanner saw it."""
        import numpy as np
        from PIL import Image, ImageCms

        # A copy: Pillow and LittleCMS take rows as they lie in memory.
        image = Image.fromarray(np.ascontiguousarray(pixels))
        ImageCms.applyTransform(image, self.transform, inPlace=True)
        unseen = (pixels == np.array(background, np.uint8)).all(2)
        return np.where(unseen[..., None], pixels, np.asarray(image))


def correction_of(icc: bytes) -> Correction | None:
    """Return what brings RGB of a profile to sRGB, by the intent that it asks for; None where it is not one of RGB."""
    from PIL import ImageCms

    try:
        profile = _opened(icc)
        intent = ImageCms.Intent(ImageCms.getDefaultIntent(profile))
        return Correction(ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), "RGB", "RGB", intent))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _opened(icc: bytes) -> Any:
    from PIL import ImageCms

    if len(icc) > _LARGEST:
        raise ValueError("larger than any profile")
    return ImageCms.ImageCmsProfile(io.BytesIO(icc))
