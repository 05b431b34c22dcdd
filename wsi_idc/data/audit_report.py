"""What an audit says: its terms, its numbers, and their files with charts of the classes as PNG and SVG."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from wsi_idc.base.pages.figures import draw_panels
from wsi_idc.base.shown import cells
from wsi_idc.data.kaggle import FARTHEST

SIZE = 50  # pixels a side, at 4 um/px
EMPTY_STD = 8  # takes in blank glass and the dark outside the field of light; the palest stroma and fat vary more
_NOT_IDC, _IDC = "#4477aa", "#cc3311"  # told apart by the colour-blind too

_EMPTY = f"the standard deviation of all R, G and B values is at most {EMPTY_STD}"
FINDINGS = {
    "unreadable": "files that are no image, and folders that cannot be listed",
    "foreign": "files and folders not named or placed as patches are; not counted as patches",
    "label_not_of_folder": "patches whose class in the name is not that of their folder; the name counts",
    "patient_not_of_folder": "patches whose patient in the name is not that of their folder; the name counts",
    "off_grid": f"patches off the grid of {SIZE} pixels that begins at 1, or beyond {FARTHEST} pixels",
    "conflicting_places": "places of a patient that are in both classes",
    "conflicting_pixels": "patches with the very pixels of a patch of the other class",
    "same_pixels_within_patient": "patches with the very pixels of another patch of their patient",
    "same_pixels_across_patients": "patches with the very pixels of another patient's: these leak in any split",
    "odd_size": f"patches that are not {SIZE}x{SIZE} pixels",
    "near_empty_light": f"patches of blank glass: {_EMPTY}, the mean at least 128",
    "near_empty_dark": f"patches without light: {_EMPTY}, the mean below 128",
}
DEFINITIONS = FINDINGS | {
    "whole_section": "the median over the patches of a patient of 4-neighbours with a patch is at least 3",
    "missing_neighbours": "share without a patch of the 4-neighbour places inside the rectangle of a patient's patches",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """How many there are of something, and the first of them: paths below the folder, with those that they contradict.

    Of places there are all paths; of a patch with the pixels of others, its own path and one other.
    """

    count: int
    examples: list[list[str]]


@dataclass(frozen=True, slots=True)
class NestedTree:
    """A second tree inside the folder: its patches, which are not counted, and how many of them are only there."""

    folder: str
    patches: int
    only_there: int


@dataclass(frozen=True, slots=True)
class PatientCounts:
    """The patches of one patient; `missing_neighbours` is a share, None where no place has a neighbour."""

    patient: str
    patches: int
    idc: int
    idc_share: float
    unreadable: int
    odd_size: int
    near_empty: int
    missing_neighbours: float | None
    whole_section: bool


@dataclass(frozen=True, slots=True)
class Audit:
    """What is in a folder of patches. `sizes` are those other than 50x50, as "<width>x<height>", frequent first."""

    folder: str
    patches: int
    not_idc: int
    idc: int
    idc_share: float
    one_class_only: bool
    patients: int
    patients_without_idc: int
    patients_with_idc_only: int
    whole_sections: int
    random_samples: int
    sizes: dict[str, int]
    nested: list[NestedTree]
    findings: dict[str, Finding]
    definitions: dict[str, str]
    per_patient: list[PatientCounts]


def write_audit(audit: Audit, folder: Path) -> None:
    """Write audit.json, patients.csv and the charts into `folder`."""
    (folder / "audit.json").write_text(json.dumps(asdict(audit), indent=2) + "\n", encoding="utf-8")
    rows = [cells(asdict(p)) for p in audit.per_patient]
    with (folder / "patients.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    draw_charts(folder, audit)


def draw_charts(folder: Path, audit: Audit) -> None:
    """Draw the distribution of the classes over patches and over patients into `folder`, each as PNG and SVG."""
    patients = sorted(audit.per_patient, key=lambda p: (-p.patches, p.idc))

    def classes(axes: Axes) -> None:
        bars = axes.bar(["not IDC", "IDC"], [audit.not_idc, audit.idc], color=[_NOT_IDC, _IDC])
        axes.bar_label(bars, [f"{n:,}\n{n / audit.patches:.1%}" for n in (audit.not_idc, audit.idc)])
        axes.margins(y=0.15)
        axes.set(title=f"{audit.patches:,} patches by class", xlabel="class", ylabel="patches")

    def by_patient(axes: Axes) -> None:
        at = np.arange(len(patients)) + 1
        idc = np.array([p.idc for p in patients])
        axes.bar(at, idc, 1, color=_IDC, label="IDC")
        axes.bar(at, [p.patches - p.idc for p in patients], 1, bottom=idc, color=_NOT_IDC, label="not IDC")
        axes.set(title="Patches of each patient", xlabel="patients, by number of patches", ylabel="patches")
        axes.legend()

    def share(axes: Axes) -> None:
        axes.hist([p.idc_share for p in patients], bins=20, range=(0, 1), color=_IDC, edgecolor="white")
        title = f"Share of IDC among the patches of {audit.patients} patients"
        axes.set(title=title, xlabel="share of IDC", ylabel="patients", xlim=(0, 1))

    for name, draw in {"classes": classes, "patients": by_patient, "idc_share": share}.items():
        draw_panels(folder / f"{name}.png", [draw], size=(6, 4.4))
