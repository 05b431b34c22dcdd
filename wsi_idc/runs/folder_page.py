"""index.html of an output folder: every slide with its thumbnail, numbers and flags, to be sorted and filtered."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wsi_idc.base.files import replacing
from wsi_idc.base.inputs.bounded import read_bytes
from wsi_idc.errors import OutputError
from wsi_idc.runs.manifest import NUMBERS, Manifest, Row
from wsi_idc.runs.results.identity import said_of_mixed

_log = logging.getLogger(__name__)

NAME = "index.html"
_NOTE = "For research use only; not a medical device and not for diagnosis."
_COLUMNS = (
    ("", "Slide", False),
    ("name", "Name", False),
    ("state", "State", False),
    ("idc_mm2", "IDC, mm²", True),
    ("idc_share", "of tissue, %", True),
    ("foci", "Foci", True),
    ("largest_extent_mm", "Largest, mm", True),
    ("tissue_mm2", "Tissue, mm²", True),
    ("seconds", "Seconds", True),
    ("reason", "Reason and flags", False),
)
# Flags that can be chosen.
_FLAGS = 20
# While a folder is computed its page is written at most so often, and takes at most this share of the time.
_EVERY_S, _SHARE = 60.0, 0.01
# Bytes of the page of some ten thousand slides, with their thumbnails.
_LARGEST = 1 << 29


@dataclass(slots=True)
class FolderPage:
    """Keeps index.html of the output folder of a run; it is never the reason for which a run fails."""

    output: Path
    manifest: Manifest
    _next: float = field(default_factory=lambda: time.monotonic() + _EVERY_S)

    def now_and_then(self) -> None:
        """Write the page where that has not been done for a while."""
        if time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        """Write the page, whole or not at all, and say so where that cannot be done."""
        begun = time.monotonic()
        try:
            with replacing(self.output / NAME, durable=False) as temporary:
                temporary.write_bytes(_sealed(folder_page(self.output, self.manifest.read()).encode()))
        except OutputError as error:
            _log.warning("%s; the run goes on, and manifest.csv has all that the page would show", error)
        ended = time.monotonic()
        self._next = ended + max(_EVERY_S, (ended - begun) / _SHARE)


def is_as_written(page: Path) -> bool:
    """Say whether a page is, to the last bit, as it was written; True where an older version wrote it."""
    content = read_bytes(page, _LARGEST)
    if content.endswith(b"</html>\n"):
        return True
    return _sealed(content[: content.rfind(b"\n", 0, -1) + 1]) == content


def _sealed(page: bytes) -> bytes:
    """Return a page with its sum in a line of its own at the end."""
    return page + f"<!-- sha256 of all above: {hashlib.sha256(page).hexdigest()} -->\n".encode()


def folder_page(output: Path, rows: Mapping[str, Row], opens: str = "report.html", addresses: bool = False) -> str:
    """Return the page of an output folder, from the rows of its manifest; thumbnails are links, and what `opens`.

    These lie in the folder of each slide, or, with `addresses`, below `key_of` the slide.
    """
    # Loaded when a page is written.
    from wsi_idc.base.pages.render import render

    slides = [_slide(place, row) for place, row in enumerate(rows.values())]
    if addresses:
        slides = [s | {"folder": key_of(row)} for s, row in zip(slides, rows.values(), strict=True)]
    done = [s for s in slides if s["there"]]
    states = Counter(s["state"] for s in slides)
    flags = Counter(flag for s in slides for flag in s["flags"])
    with_numbers = (row for row in rows.values() if row["state"] in ("done", "incomplete"))
    mixed = said_of_mixed(Counter(str(row["made_by"]) for row in with_numbers), _FLAGS)
    return render(
        "folder.html",
        opens=opens,
        name=os.fsencode(output.resolve().name).decode("utf-8", "replace"),
        tool=f"wsi-idc {version('wsi-idc')}",
        note=_NOTE,
        conclusion=_conclusion(states, done) + (f" These are {mixed}." if mixed else ""),
        plots=_plots(done) if done else [],
        states=states.most_common(),
        flags=flags.most_common(_FLAGS),
        columns=_COLUMNS,
        rows=slides,
    )


def key_of(row: Row) -> str:
    """Return what a slide goes by in an address, whatever characters the name of its folder has."""
    return hashlib.sha256(os.fsencode(str(row["output"]))).hexdigest()[:16]


def _slide(place: int, row: Row) -> dict[str, Any]:
    """Return a row of the manifest as the page has it: numbers, None where not known, and links."""
    text = {name: str(value) for name, value in row.items()}
    warnings = [w for w in text["warnings"].split("; ") if w]
    numbers = {name: float(text[name]) if text[name] else None for name in (*NUMBERS, "seconds", "failed_chunks")}
    state = text["state"]
    return {
        "place": place,
        "slide": text["slide"],
        "name": os.path.basename(text["slide"]),  # noqa: PTH119
        "state": state,
        "reason": text["reason"].removeprefix(f"{text['slide']}: "),
        "folder": quote(os.fsencode(text["output"]), safe=""),
        "there": state in ("done", "incomplete"),
        "warnings": warnings,
        # The same but for numbers in it: what can be chosen.
        "flags": sorted({re.sub(r"\d+(?:[.,]\d+)*", "#", w) for w in warnings}),
    } | numbers


def _conclusion(states: Counter[str], done: Sequence[Mapping[str, Any]]) -> str:
    total = states.total()
    slides = "slide" if total == 1 else "slides"
    # 0 foci are none that were found; where nothing was looked at there is no number.
    looked_at = [s for s in done if s["foci"] is not None]
    with_idc, nothing = sum(s["foci"] > 0 for s in looked_at), len(done) - len(looked_at)
    others = ", ".join(f"{count} {state}" for state, count in states.most_common() if state != "done")
    rest = f" ({others})" if others else ""
    found = f"; IDC was found on {with_idc} of the {len(looked_at)} looked at" if looked_at else ""
    unseen = f"; nothing was looked at on {nothing}" if nothing else ""
    return f"{states['done']} of {total} {slides} done{rest}{found}{unseen}."


def _plots(done: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Return a title, a unit and bars for each of three distributions over the slides that were computed."""
    shares = [s["idc_share"] * 100 for s in done if s["idc_share"] is not None]
    areas = [s["idc_mm2"] for s in done if s["idc_mm2"] is not None]
    foci = [s["foci"] for s in done if s["foci"] is not None]
    return [
        ("IDC of tissue", "%", _bars(shares, (0, 0.001, 1, 5, 10, 20, 40, 60, 80), "%")),
        ("IDC", "mm²", _bars(areas, (0, 0.001, 1, 3, 10, 30, 100, 300), " mm²")),
        ("Foci", "", _bars(foci, (0, 1, 2, 3, 5, 10, 20, 50), "")),
    ]


def _bars(values: Sequence[float], edges: Sequence[float], unit: str) -> list[dict[str, Any]]:
    """Return a bar for each class from one edge to below the next, the last without end, in a figure of 320 x 150."""
    counts = [sum(low <= v < high for v in values) for low, high in zip(edges, [*edges[1:], math.inf], strict=True)]
    width, tallest = 312 / len(edges), max(1, *counts)
    bars = []
    for n, (low, count) in enumerate(zip(edges, counts, strict=True)):
        height = round(100 * count / tallest, 1)
        until = f" to below {edges[n + 1]:g}" if n + 1 < len(edges) else " and more"
        text = f"{low:g}" if low != 0.001 else ">0"
        place = {"x": round(4 + n * width, 1), "width": round(width - 4, 1), "middle": round(2 + (n + 0.5) * width, 1)}
        bars.append(
            place
            | {"y": round(120 - height, 1), "height": height, "count": count, "text": text}
            | {"title": f"{text}{until}{unit}: {count} slides"}
        )
    return bars
