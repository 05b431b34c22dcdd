"""What a run says in words: its conclusion, what limits it, and what the tool does not know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsi_idc.base.grid import Grid
from wsi_idc.regions.interpolate import fine_grid
from wsi_idc.regions.regions import UNCERTAIN
from wsi_idc.runs.results.folder import patches_lost

# Below these shares nobody needs to be told.
_SOME_UNCERTAIN, _SOME_BLUR, _SOME_INK_MM2 = 0.1, 0.01, 0.01


def conclusion(summary: Mapping[str, Any]) -> str:
    """Say in one sentence, or two where something is missing, what was found."""
    s = summary
    if not s["patches"]:
        text = nothing_looked_at(s["tissue_mm2"])
        return f"{text[:1].upper()}{text[1:]}."
    tissue = f"{s['tissue_mm2']:.2f} mm² of tissue"
    if not s["foci"]:
        text = f"No IDC was found in {tissue}."
    else:
        where = "one focus" if s["foci"] == 1 else f"{s['foci']} foci"
        share = "" if s["idc_share"] is None else f"{s['idc_share']:.0%} of "
        largest = f"{s['largest_extent_mm']:.2f} mm across"
        text = (
            f"IDC was found: {s['idc_mm2']:.2f} mm² in {where}, {share}{tissue}; "
            f"{'it is' if s['foci'] == 1 else 'the largest is'} {largest}."
        )
    lost = patches_lost(s)
    return f"Incomplete: {lost} patches could not be computed. Of the others: {text}" if lost else text


def nothing_looked_at(tissue_mm2: float) -> str:
    """Say why no patch of a slide was computed, and what follows."""
    why = "no tissue found"
    if tissue_mm2:
        why = f"no patch holds enough of its {tissue_mm2:.2f} mm2 of tissue (see --min-tissue)"
    return f"nothing was looked at, {why}: whether it has IDC is not known"


def more_than_tissue(numbers: Mapping[str, Any], grid: Grid) -> list[str]:
    """Say where the outlines of a grid hold more than the tissue, and why, in a sentence; [] where they do not.

    Tissue ends between the centre of a pixel of the interpolated probabilities that is tissue and one that is none, of
    probability 0; an outline along a low probability runs near the centre of the second.
    """
    idc, tissue = numbers["idc_mm2"], numbers["tissue_mm2"]
    if idc is None or idc <= tissue:
        return []
    beyond = fine_grid(grid).patch_um / 2
    return [
        f"outlines hold {idc:.4f} mm2, more than the {tissue:.4f} mm2 of tissue, so their share is given as 1: at a "
        f"low threshold they run up to {beyond:.0f} um beyond its edge, and holes that are filled count"
    ]


def not_computed(summary: Mapping[str, Any]) -> list[str]:
    """Say for each chunk that failed how many of its patches were not computed, and why; no full stop ends it."""
    return [
        f"{c['patches']} {'patch was' if c['patches'] == 1 else 'patches were'} not computed ({c['reason']}): what "
        "lies there is in no number"
        for c in summary["failed_chunks"]
    ]


def limits(summary: Mapping[str, Any]) -> list[str]:
    """Return what limits a result, a sentence each, what weighs most first."""
    s = summary
    found = [f"{said}." for said in not_computed(s)]
    found += [f"{w[:1].upper()}{w[1:]}." for w in s["warnings"]]
    uncertain = s["uncertain_share"]
    if uncertain is not None and uncertain > _SOME_UNCERTAIN:
        found.append(
            f"{uncertain:.0%} of the area of IDC is uncertain: there the probability lies between {UNCERTAIN[0]:g} and "
            f"{UNCERTAIN[1]:g}, the model is about as likely wrong as right, and another threshold moves the outline."
        )
    if s["ink_mm2"] > _SOME_INK_MM2:
        found.append(f"Pen ink covers {s['ink_mm2']:.2f} mm²: what lies below it was not looked at.")
    if s["out_of_focus_share"] > _SOME_BLUR and not any("out of focus" in w for w in s["warnings"]):
        found.append(f"{s['out_of_focus_share']:.0%} of the tissue is out of focus.")
    if s["foci_at_slide_edge"]:
        found.append(f"{_foci(s['foci_at_slide_edge'])} at the edge of the slide: more may lie beyond it.")
    if s["foci_at_tissue_edge"]:
        found.append(
            f"{_foci(s['foci_at_tissue_edge'])} where the tissue ends: the extent is that on this section, not of the "
            "tumour."
        )
    if s["slivers"]:
        number = "One area" if s["slivers"] == 1 else f"{s['slivers']} areas"
        found.append(
            f"{number} smaller than {s['parameters']['min_area_mm2']:.2g} mm², {s['slivers_mm2']:.3f} mm² in all, "
            f"{'is' if s['slivers'] == 1 else 'are'} listed apart and not counted as foci."
        )
    return found


def unknown(summary: Mapping[str, Any], training: str) -> list[str]:
    """Return what this tool cannot know of any slide; `training` says what the model was trained on."""
    model = summary["model"]
    um = model["patch_size"] * model["mpp"]
    return [
        f"The model sees squares of {um:g} µm at {model['mpp']:g} µm/px: single cells, and foci smaller than such a "
        "square, it cannot tell.",
        "It knows two answers, IDC and not. Carcinoma in situ, other invasive types and benign proliferations have no "
        "answer of their own, and may be called either.",
        "How often it calls tissue without cancer IDC is not known: no such slides were at hand.",
        "Outlines follow how coarsely pathologists outlined the slides of training; they reach a patch or so beyond "
        "the tumour.",
        "It says nothing of grade, margins, receptors, vessels or lymph nodes.",
        f"It was trained on: {training}.",
    ]


WORDS = (
    ("IDC", "invasive ductal carcinoma (invasive carcinoma of no special type)"),
    ("focus, region", "a connected area of IDC; its number is its rank by area"),
    ("patch", "the square that the model gives one probability"),
    ("probability", "how often, by the model's own calibration, such a patch is IDC"),
    ("threshold", "the probability from which a place is called IDC"),
    ("uncertain", f"with a probability between {UNCERTAIN[0]:g} and {UNCERTAIN[1]:g}"),
    ("largest diameter", "the largest distance between two points of a region"),
    ("sliver", "an area smaller than the smallest focus; listed apart"),
    ("tissue", "what is neither glass nor ink"),
)


def counted_foci(number: int) -> str:
    """Return "1 focus", "2 foci" and so on."""
    return "1 focus" if number == 1 else f"{number} foci"


def _foci(number: int) -> str:
    return "One focus ends" if number == 1 else f"{number} foci end"
