"""Probabilities of single patches and small images, without a slide around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsi_idc.base.inputs.picture import picture_facts, read_rgb
from wsi_idc.base.raster import average
from wsi_idc.data.scale import stated_mpp as mpp_of_patches
from wsi_idc.errors import DataError, SlideError
from wsi_idc.inference.choose import choose_engine, make_engine
from wsi_idc.inference.predictor import Predictor
from wsi_idc.models.package import ModelPackage
from wsi_idc.slides.scale import MAX_ANISOTROPY, PLAUSIBLE_MPP, find_claim
from wsi_idc.slides.tiff.pages import is_tiff

WHITE = 255
_LARGEST = 25_000_000  # pixels
# A scale that is off by less is the model's: tags are rounded.
_SAME = 0.01
# As far as slides may be coarser than the model.
_COARSER = 1.1
# What only slides end in.
_OF_SLIDES = {".svs", ".ndpi", ".vms", ".vmu", ".scn", ".mrxs", ".svslide", ".bif", ".czi", ".dcm", ".dicom", ".qptiff"}
_INCH = 25400.0  # um
# What a slide is for, in place of being taken for a picture.
_SEGMENT = "wsi-idc segment reads it at the scale of the model"


def predict_images(
    images: Sequence[Path],
    package: ModelPackage,
    engine: str = "auto",
    threshold: float | None = None,
    on_image: Callable[[], object] | None = None,
) -> tuple[list[dict[str, Any]], list[DataError]]:
    """Predict each image on its own, at the model's scale: what states a finer one is averaged by area.

    The pixels of an image that states no scale count as those of the model; slides are refused, for `segment` reads
    them. An image larger than a patch is cut into a grid of patches; those at its right and lower border count where it
    covers at least half of them, filled up with white, as transparent pixels are. Returns a row for each readable image
    (image, probability: the mean over its patches, max_probability, idc, patches, mpp: what it states, um per pixel, or
    None) and an error for each of the others, for those that cover half of no patch, and for those of which the model
    gives no number. `on_image` is told as each is done.
    """
    name = choose_engine(engine, package, len(images))
    predictor = Predictor(package, make_engine(name, package))
    threshold = package.threshold if threshold is None else threshold
    rows: list[dict[str, Any]] = []
    errors: list[DataError] = []
    for number, path in enumerate(images):
        if on_image and number:
            on_image()
        try:
            mpp = stated_mpp(path)
            pixels, present = _cut(path, _at_scale(path, read_image(path), mpp, package), package)
        except DataError as error:
            errors.append(error)
            continue
        values = predictor.block(pixels, present)[present]
        if lost := int(np.isnan(values).sum()):
            errors.append(DataError(f"{path}: {package.name} gives no number for {lost} of its {values.size} patches"))
            continue
        mean = float(values.mean(dtype=np.float64))
        rows.append(
            {
                "image": str(path),
                "probability": round(mean, 6),
                "max_probability": round(float(values.max()), 6),
                "idc": mean >= threshold,
                "patches": int(values.size),
                "mpp": mpp and round(mpp, 4),
            }
        )
    return rows, errors


def image_patch(path: Path, package: ModelPackage, for_slides: str) -> np.ndarray:
    """Read an image that is one patch at the model's scale, as `predict_images` takes it: (s, s, 3) uint8.

    Raises DataError where it cannot be read, is a slide, `for_slides` then being the way out, or is more than a patch.
    """
    size = package.patch_size
    mpp = stated_mpp(path, for_slides)
    pixels = _at_scale(path, read_image(path), mpp, package)
    filled, present = _cut(path, pixels, package)
    if present.sum() > 1:
        raise DataError(
            f"{path}: is {pixels.shape[1]} x {pixels.shape[0]} pixels at the scale of {package.name}, more than one "
            f"patch; cut one of {size} x {size} out of it"
        )
    return np.ascontiguousarray(filled[:size, :size])


def stated_mpp(path: Path, for_slides: str = _SEGMENT) -> float | None:
    """Return the um per pixel that an image states, None where it states none or one that cannot be true (72 dpi).

    Of a patch in a folder of such, patches.json there states it.
    Raises DataError where it is a slide, with `for_slides` as the way out, or its pixels are not square.
    """
    if path.is_dir():
        raise DataError(f"{path}: is a folder; give images, or use wsi-idc segment for the slides in it")
    if path.suffix.lower() in _OF_SLIDES:
        raise _slide(path, for_slides)
    try:
        scale = _of_tiff(path, for_slides) if path.is_file() and is_tiff(path) else _of_picture(path)
    except (OSError, ValueError, SyntaxError):
        # What cannot be read says so when its pixels are.
        return None
    low, high = PLAUSIBLE_MPP
    if scale is None or not all(low <= um <= high for um in scale):
        return _of_folder(path.absolute())
    if max(scale) > (1 + MAX_ANISOTROPY) * min(scale):
        raise DataError(f"{path}: its pixels are not square: {scale[0]:.4g} x {scale[1]:.4g} um; resample it first")
    return float(np.mean(scale))


def _of_folder(path: Path) -> float | None:
    """Return the scale of a patch, <patient>/<0|1>/<patch>, as patches.json beside the patients states it."""
    labelled = path.parent.name in ("0", "1") and len(path.parents) > 2
    return mpp_of_patches(path.parents[2]) if labelled else None


def _slide(path: Path, for_slides: str, why: str = "") -> DataError:
    return DataError(f"{path}: is a slide{why}; {for_slides}")


def _of_tiff(path: Path, for_slides: str) -> tuple[float, float] | None:
    """Return the scale of a TIFF of one image (x, y); raises DataError where it is a slide."""
    # Loaded where there is one: it takes longer than a patch.
    from wsi_idc.slides.open import open_file

    try:
        opened = open_file(path)
    except SlideError:
        return _of_picture(path)
    reader = opened.reader
    try:
        levels = sum(not level.virtual for level in reader.levels)
        vendor = reader.properties.get("openslide.vendor", "")
        claim = find_claim(reader.properties)
    finally:
        reader.close()
    if len(opened.images) > 1:
        # Which of them Pillow takes is not said.
        raise _slide(path, for_slides, f" of {len(opened.images)} images")
    if levels > 1 or vendor not in ("", "generic-tiff"):
        raise _slide(path, for_slides, f" of {levels} levels" if levels > 1 else f" ({vendor})")
    return (claim.x, claim.y) if claim else None


def _of_picture(path: Path) -> tuple[float, float] | None:
    """Return the scale of a picture (x, y), as PNG, JPEG and others state it, in dots per inch or per metre."""
    dpi = picture_facts(path).get("dpi")
    return (_INCH / float(dpi[0]), _INCH / float(dpi[1])) if dpi and min(dpi) > 0 else None


def _at_scale(path: Path, pixels: np.ndarray, mpp: float | None, package: ModelPackage) -> np.ndarray:
    """Bring pixels (h, w, 3) uint8 of `mpp` um to the scale of a model; raises DataError where they are too coarse."""
    if mpp is None or abs(mpp / package.mpp - 1) <= _SAME:
        return pixels
    if mpp > _COARSER * package.mpp:
        raise DataError(
            f"{path}: states {mpp:.4g} um per pixel, coarser than the {package.mpp:g} that {package.name} sees; export "
            "it from the slide at a finer scale, or without a scale that it does not have"
        )
    scale = package.mpp / mpp
    height, width = (max(1, round(side / scale)) for side in pixels.shape[:2])
    return average(pixels, (0.0, 0.0), (scale, scale), (height, width), (WHITE, WHITE, WHITE))


def read_image(path: Path) -> np.ndarray:
    """Read an image as (h, w, 3) uint8, white where it is transparent; raises DataError where it cannot be."""
    try:
        return read_rgb(path, _LARGEST)
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise DataError(f"{path}: {reason}") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}{' for predict; use segment' if 'too large' in str(error) else ''}") from error


def _cut(path: Path, pixels: np.ndarray, package: ModelPackage) -> tuple[np.ndarray, np.ndarray]:
    """Fill the sides of an image (h, w, 3) up to whole patches, and say which of these count (r, c) bool.

    A patch counts where the image covers at least half of it. Raises DataError where none does: what the model says of
    a patch of white is no answer.
    """
    size, (height, width) = package.patch_size, pixels.shape[:2]
    present = np.outer(_cover(height, size), _cover(width, size)) >= 0.5
    if not present.any():
        raise DataError(
            f"{path}: is {width} x {height} pixels at the {package.mpp:g} um per pixel that {package.name} sees, less "
            f"than half a patch of {size} x {size}; give more of the slide, or a model of its own scale"
        )
    fill = [(0, -side % size) for side in (height, width)]
    return np.pad(pixels, [*fill, (0, 0)], constant_values=WHITE), present


def _cover(side: int, size: int) -> np.ndarray:
    """Return the share of each of the patches along a side that lies inside it."""
    return np.minimum(1, (side - size * np.arange(-(-side // size))) / size)
