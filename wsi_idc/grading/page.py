"""Fields in the report of the run that they were chosen from."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from wsi_idc.base.inputs.bounded import read_text
from wsi_idc.base.pages.render import data_uri, render
from wsi_idc.base.pages.sheet import scale_bar
from wsi_idc.grading.fields import WEIGHTS, GradingField
from wsi_idc.runs.results.folder import replace_output

_REPORT = "report.html"
# Bytes of a report, which holds its pictures.
_LARGEST = 1 << 27
_PLACE = re.compile(r"(<!-- fields -->).*?(<!-- /fields -->)", re.DOTALL)


def add_to_report(run: Path, fields: Sequence[GradingField], thumbnails: Sequence[Image.Image], mpp: float) -> None:
    """Show the fields in report.html of their run, in place of those that were there; nothing where there is no report.

    `mpp` is that of the slide, in um per level-0 pixel. Raises OutputError where the report cannot be written, OSError
    where it cannot be read.
    """
    report = run / _REPORT
    if not report.is_file():
        return
    shown = [
        {"rank": rank, "image": _jpeg(image), "side": image.width}
        | {"scale": scale_bar(field.width * mpp / 1000)}
        | {name: f"{getattr(field, name):.2f}" for name in ("score", "tumour", "nuclei", "edge")}
        | {"x": f"{field.x * mpp / 1000:.2f}", "y": f"{field.y * mpp / 1000:.2f}"}
        for rank, (field, image) in enumerate(zip(fields, thumbnails, strict=True), 1)
    ]
    weights = ", ".join(f"{weight:g} {part}" for part, weight in WEIGHTS.items())
    section = render("fields.html", fields=shown, weights=weights)
    text = read_text(report, _LARGEST)
    replace_output(run, _REPORT, _PLACE.sub(lambda found: found[1] + section + found[2], text))


def _jpeg(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=82)
    return data_uri(stream.getvalue(), "image/jpeg")
