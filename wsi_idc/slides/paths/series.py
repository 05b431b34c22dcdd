"""Which images of the files given are slides, each with an address of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wsi_idc.errors import SlideError
from wsi_idc.slides.ngff.store import is_store
from wsi_idc.slides.open import describe_images, open_file
from wsi_idc.slides.paths.address import SlideAddress, is_folder


def with_series(slides: Sequence[Path], series: int | None) -> list[Path]:
    """Return addresses of the image of number `series` of each file, or with None of all its scans.

    Files that hold one scan, and those that cannot be opened and will fail by themselves, keep their path.
    """
    found = []
    for path in slides:
        address = SlideAddress.of(path)
        if address.series is not None or (is_folder(address.file) and not is_store(address.file)):
            found.append(path)
        elif series is not None:
            found.append(replace(address, series=series).path)
        else:
            numbers = _scans(address.file)
            found += [replace(address, series=n).path for n in numbers] if len(numbers) > 1 else [path]
    return found


def _scans(file: Path) -> list[int]:
    try:
        opened = open_file(file)
    except (SlideError, OSError):
        return []
    opened.reader.close()
    return [
        image["number"] for image in describe_images(opened) if image["role"] in ("slide", "part of the slide", "scan")
    ]
