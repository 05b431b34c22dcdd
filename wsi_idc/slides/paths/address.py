"""Addresses of slides: a file, and what a list or an option says of it, in one path that travels like any other."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_PARTS = re.compile(r"::(?:series=(?P<series>\d+))?(?:,?mpp=(?P<mpp>[0-9.e+-]+))?(?:,?name=(?P<name>.+))?$")


@dataclass(frozen=True, slots=True)
class SlideAddress:
    """A slide file or DICOM folder; of several images in it that of number `series`; its um per pixel; its name.

    As a path it reads FILE::series=1,mpp=0.5,name=case 7, or FILE where nothing is said.
    """

    file: Path
    series: int | None = None
    mpp: float | None = None
    name: str | None = None

    @classmethod
    def of(cls, path: str | Path) -> SlideAddress:
        """Read an address; any path to what exists, and any other without these parts, is that of a file."""
        text = str(path)
        found = _PARTS.search(text)
        if found is None or not any(found.groups()) or is_there(Path(path)):
            return cls(Path(path))
        try:
            mpp = float(found["mpp"]) if found["mpp"] else None
        except ValueError:
            return cls(Path(path))
        return cls(Path(text[: found.start()]), int(found["series"]) if found["series"] else None, mpp, found["name"])

    @property
    def path(self) -> Path:
        """The address as a path."""
        said = [
            f"{key}={value:.17g}" if isinstance(value, float) else f"{key}={value}"
            for key, value in (("series", self.series), ("mpp", self.mpp), ("name", self.name))
            if value is not None
        ]
        return Path(f"{self.file}::{','.join(said)}") if said else self.file

    @property
    def stem(self) -> str:
        """What a folder of results is called by it: its name, else that of the file, and the image."""
        stem = self.name or _stem(self.file)
        return stem if self.series is None else f"{stem}-series-{self.series}"

    @property
    def shown(self) -> str:
        """What people read: its name beside that of the file, and the image."""
        file = given_name(self.file) if self.series is None else f"{given_name(self.file)}, image {self.series}"
        return f"{self.name} ({file})" if self.name else file


def _stem(file: Path) -> str:
    """Return the name of a file without its suffix, and that of a folder as it is, but for .zarr."""
    return given_name(file).removesuffix(".zarr") if is_folder(file) else file.stem


# Not those of Path: they raise where a folder on the way may not be looked into.


def is_there(path: Path) -> bool:
    """Say whether there is something at a path, as far as it may be looked at; what a broken link leads to is not."""
    return os.path.exists(path)  # noqa: PTH110


def is_folder(path: Path) -> bool:
    """Say whether a path leads to a folder, as far as it may be looked at."""
    return os.path.isdir(path)  # noqa: PTH112


def is_file(path: Path) -> bool:
    """Say whether a path leads to a regular file, as far as it may be looked at."""
    return os.path.isfile(path)  # noqa: PTH113


def given_name(path: Path) -> str:
    """Return the name of a file or folder as given, that of the folder itself for "." and the like."""
    # Not resolve: a link goes by its own name.
    return Path(os.path.abspath(path)).name  # noqa: PTH100
