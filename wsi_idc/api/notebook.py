"""A run in a notebook: its picture and its conclusion, where the cell is."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsi_idc.base.inputs.bounded import read_bytes
from wsi_idc.errors import DataError
from wsi_idc.runs.results.folder import OUTPUTS, read_summary
from wsi_idc.runs.results.words import conclusion, limits
from wsi_idc.runs.settings import SegmentResult

# Bytes of a picture: beyond any that is written.
_LARGEST = 1 << 26


@dataclass(frozen=True, slots=True, repr=False)
class Shown:
    """A run as a notebook shows it: `picture` is overview.png, PNG; `summary` the content of summary.json."""

    picture: bytes
    summary: dict[str, Any]

    def __repr__(self) -> str:
        """Say what was found in words, where nothing shows pictures."""
        return " ".join([f"{self.summary['slide']['slide']}:", conclusion(self.summary), *limits(self.summary)])

    def _repr_png_(self) -> bytes:
        return self.picture

    def _repr_html_(self) -> str:
        name, said = (html.escape(text) for text in (self.summary["slide"]["slide"], conclusion(self.summary)))
        limited = "".join(f"<li>{html.escape(limit)}</li>" for limit in limits(self.summary))
        picture = base64.b64encode(self.picture).decode()
        return (
            f'<figure style="margin:0"><img style="max-width:100%" alt="{name} with its regions" '
            f'src="data:image/png;base64,{picture}"><figcaption><b>{name}</b>: {said}<ul>{limited}</ul>'
            f"<small>{html.escape(self.summary['note'])}</small></figcaption></figure>"
        )


def show(run: str | Path | SegmentResult) -> Shown:
    """Show a run, the folder of one slide or what `segment` returned, in a notebook: its overview and its conclusion.

    At the end of a cell it is drawn there; anywhere else it prints the same in words. Raises DataError where `run` is
    no folder of a run.

    >>> import wsi_idc
    >>> shown = wsi_idc.show("results/slide")
    >>> print(str(shown).split(":")[0], shown.picture[:4])
    slide.tif b'\\x89PNG'
    """
    folder = run.folder if isinstance(run, SegmentResult) else Path(run)
    summary = read_summary(folder)
    try:
        picture = read_bytes(folder / OUTPUTS[2], _LARGEST)
    except OSError as error:
        raise DataError(f"{folder}: its {OUTPUTS[2]} cannot be read ({error}); run segment again") from error
    return Shown(picture, summary)
