"""Which decoder takes the tiles of a page: those of tifffile, and AVIF, for which TIFF has no number of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wsi_idc.errors import SlideError
from wsi_idc.slides.tiff.claims import AVIF

# How a file of AVIF begins, behind the length of its first box: still pictures, and sequences.
_AVIF = (b"ftypavif", b"ftypavis")

Decoded = tuple[Any, Any, Any]


def decoder(page: Any, head: bytes) -> tuple[Callable[..., Decoded], int]:
    """Return what decodes the tiles of a page of a `tifffile.TiffFile`, and its number; `head` begins one of them.

    It is called as `page.decode`. The number is that of TIFF, or `claims.AVIF`. Raises SlideError where there is none,
    with the number of the codec.
    """
    import tifffile

    try:
        known = page.compression in tifffile.TIFF.DECOMPRESSORS
    except NotImplementedError:
        known = False
    if known:
        decode: Callable[..., Decoded] = page.decode
        return decode, int(page.compression)
    number = int(page.compression)
    if head[4:12] not in _AVIF:
        raise SlideError(
            f"its tiles are compressed by the codec {number}, which imagecodecs does not decode; export the slide as "
            "JPEG or deflate"
        )
    import imagecodecs

    if not imagecodecs.AVIF.available:
        raise SlideError(
            f"its tiles are AVIF (codec {number}), which imagecodecs as installed here does not decode; export the "
            "slide as JPEG or deflate"
        )
    return _decode_avif, AVIF


def _decode_avif(data: bytes, _: int, **__: Any) -> Decoded:
    import imagecodecs

    pixels = imagecodecs.avif_decode(data)
    return pixels, None, pixels.shape
