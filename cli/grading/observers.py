"""`wsi-idc observers`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from wsi_idc.cli.options import echo, json_option, print_table


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@json_option
def observers(paths: tuple[Path, ...], as_json: bool) -> None:
    """Compare observers by the grading worksheets that wsi-idc view saved: counts, marks, and kappa of their scores.

    PATH is a worksheet.json or a folder of such, as the output of wsi-idc segment. Of an observer and a slide the
    worksheet that was saved last counts. Counts are compared on fields that both counted at the same place; two marks
    within 10 um are of one mitosis. Kappa is Cohen's, over slides that both scored.
    """
    from wsi_idc.grading.observers import compare_observers, find_records
    from wsi_idc.runs.results.summary import RESEARCH_USE

    found = compare_observers(find_records(paths))
    if as_json:
        echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for pair in found["pairs"]:
        _print(pair)
    echo(RESEARCH_USE)


def _print(pair: dict[str, Any]) -> None:
    first, second = pair["observers"]
    echo(f"{first} and {second}")
    rows: list[tuple[str, ...]] = [("slide", "field", "mitoses", "", "same marks")]
    for slide in pair["slides"]:
        for one in slide["fields"]:
            a, b = one["mitoses"]
            rows.append((slide["slide"], str(one["field"]), str(a), str(b), str(one["same"])))
        densities = ("-" if d is None else f"{d:.2f} per mm2" for d in slide["mitoses_per_mm2"])
        rows.append((slide["slide"], "all counted", *densities, _number(slide["marks_agreement"])))
    print_table(rows)
    echo()
    scores: list[tuple[str, ...]] = [("score", "slides", "alike", "kappa", "weighted kappa")]
    for name, one in pair["kappa"].items():
        numbers = (_number(one[key]) for key in ("agreement", "kappa", "weighted_kappa"))
        scores.append((name, str(one["slides"]), *numbers))
    print_table(scores)
    if all(one["kappa"] is None for one in pair["kappa"].values()):
        echo("kappa takes two slides or more, scored by both and not all alike")
    echo()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
