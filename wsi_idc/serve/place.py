"""Where what was submitted lies: a folder a job, named by its id; names from outside are in no path of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from wsi_idc.base.files import replacing
from wsi_idc.base.inputs.bounded import read_text
from wsi_idc.base.inputs.documents import read_json
from wsi_idc.errors import DataError

# Bytes of what is written here about a job, at most.
_LARGEST = 1 << 20
_SLIDE = {"type": "object", "required": ["slide"], "properties": {"slide": {"type": "string"}}}
_LABEL = 60


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of a job."""

    folder: Path

    @property
    def upload(self) -> Path:
        """What was received so far."""
        return self.folder / "upload"

    @property
    def slides(self) -> Path:
        """What the upload was made into: a slide."""
        return self.folder / "slide"

    @property
    def output(self) -> Path:
        """The output folder of `wsi-idc segment`."""
        return self.folder / "out"

    @property
    def lock(self) -> Path:
        """What the process of the job holds, as long as it lives; has its number."""
        return self.folder / "process"

    @property
    def said(self) -> Path:
        """What the process of the job printed: its JSON."""
        return self.folder / "said.json"

    @property
    def errors(self) -> Path:
        """What the process of the job printed on stderr."""
        return self.folder / "errors.txt"

    @property
    def refused(self) -> Path:
        """Why the upload is no slide, in words."""
        return self.folder / "refused.txt"

    def keep_slide(self, slide: Path) -> None:
        """Take note that the upload was made into a slide: last, so that it is whole where that is noted."""
        with replacing(self.folder / "slide.json") as temporary:
            temporary.write_text(json.dumps({"slide": str(slide.relative_to(self.folder))}), encoding="utf-8")

    def slide(self) -> Path | None:
        """Return the slide that the upload was made into; None where it was not yet."""
        try:
            return self.folder / read_json(self.folder / "slide.json", _LARGEST, _SLIDE)["slide"]
        except (OSError, ValueError):
            return None

    def run(self) -> Path:
        """Return the folder of the run, done or being computed; raises DataError where there is none yet."""
        entries = sorted(self.output.iterdir()) if self.output.is_dir() else []
        folders = [p for p in entries if p.is_dir() and not p.name.startswith(".")]
        if not folders:
            raise DataError("there is nothing to see of it yet")
        return folders[0]

    def text(self, file: Path) -> str:
        """Return what a file of this folder says; "" where there is none, or too much of it."""
        try:
            return read_text(file, _LARGEST, "replace").strip()
        except OSError:
            return ""

    def remove(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def label(name: str) -> str:
    """Return what a slide is called in its results: letters and digits of its name, and hyphens for all else."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    stem = last.rsplit(".", 1)[0] if "." in last[1:] else last
    kept = "".join(c if c.isalnum() or c in "-_" else " " for c in stem)
    return "-".join(kept.split()).strip("-")[:_LABEL].strip("-") or "slide"
