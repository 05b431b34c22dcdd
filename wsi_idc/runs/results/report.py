"""What a person reads: report.html, one file that needs no network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsi_idc.base.pages.colours import heat_colours
from wsi_idc.base.pages.render import render
from wsi_idc.base.pages.sheet import scale_bar
from wsi_idc.regions.regions import Region
from wsi_idc.runs.results.layers import LISTED, Crop, size_of, slide_layers
from wsi_idc.runs.results.overview import Pictured
from wsi_idc.runs.results.words import WORDS, conclusion, limits, unknown

# Slivers in their table, and bars of the histogram.
_SLIVERS, _BARS = 20, 20


def write_report(path: Path, summary: Mapping[str, Any], run: Pictured, crops: Sequence[Crop], training: str) -> None:
    """Write one HTML page: the conclusion, what limits it, the slide with its layers, the regions and the numbers.

    `crops` are places of the regions seen closer, and `training` says what the model was trained on. The same run gives
    the same bytes; the date is the browser's own of the file.
    """
    width, height = size_of(run)
    model = summary["model"]
    text = render(
        "report.html",
        slide=summary["slide"]["slide"],
        tool=f"wsi-idc {summary['versions']['wsi-idc']}",
        model=f"{model['name']} {model['version']}",
        note=summary["note"],
        conclusion=conclusion(summary),
        limits=limits(summary),
        layers=slide_layers(run),
        width=width,
        height=height,
        width_mm=round(run.extent_mm[0], 6),
        scale=scale_bar(run.extent_mm[0]),
        heat=_heat(run),
        regions=[_row(number, region) for number, region in enumerate(run.regions[:LISTED], 1)],
        left_out=max(0, len(run.regions) - LISTED),
        slivers=[_sliver(region) for region in run.slivers[:_SLIVERS]],
        slivers_left_out=max(0, len(run.slivers) - _SLIVERS),
        smallest=f"{summary['parameters']['min_area_mm2']:.2g}",
        crops=crops,
        histogram=_histogram(run),
        facts=_facts(summary),
        unknown=unknown(summary, training),
        words=WORDS,
    )
    path.write_text(text, encoding="utf-8")


def _heat(run: Pictured) -> dict[str, Any]:
    steps = heat_colours(np.linspace(run.lowest, 1, 6), run.lowest)
    return {
        "colours": ", ".join(f"rgb({r}, {g}, {b})" for r, g, b in steps.tolist()),
        "low": f"{run.lowest:.2f}",
        "threshold": f"{run.threshold:.2f}",
        "level_below": run.level < run.threshold,
        "level": f"{run.level:.2f}",
        "bands": bool(run.bands),
        "lines": ", ".join(f"{p:g}" for p in run.lines),
    }


def _row(number: int, region: Region) -> dict[str, Any]:
    ends = [name for name, at in _edges(region) if at]
    return {
        "number": number,
        "area": f"{region.area_mm2:.3f}",
        "diameter": f"{region.largest_diameter_mm:.2f}",
        "mean": f"{region.mean_probability:.2f}",
        "highest": f"{region.max_probability:.2f}",
        "uncertain": f"{region.uncertain_share:.4f}",
        "uncertain_text": f"{region.uncertain_share:.0%}",
        "nearest": "" if region.nearest_mm is None else f"{region.nearest_mm:.2f}",
        "ends": ", ".join(ends),
    }


def _edges(region: Region) -> tuple[tuple[str, bool], ...]:
    return ("edge of tissue", region.touches_tissue_edge), ("edge of slide", region.touches_slide_edge)


def _sliver(region: Region) -> dict[str, str]:
    x, y = (v / 1000 for v in region.centroid_um)
    return {"area": f"{region.area_mm2:.4f}", "highest": f"{region.max_probability:.2f}"} | {
        "x": f"{x:.2f}",
        "y": f"{y:.2f}",
    }


def _facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    s, slide, model, parameters = summary, summary["slide"], summary["model"], summary["parameters"]
    familiar, none = s["familiarity"], not s["patches"]
    share = "" if s["idc_share"] is None else f", {s['idc_share']:.1%} of tissue"
    found = {
        "IDC": "not known" if none else f"{s['idc_mm2']:.2f} mm²" + share,
        "Tissue": f"{s['tissue_mm2']:.2f} mm²",
        "Foci": "not known" if none else f"{s['foci']}, {s['foci_at_tissue_edge']} of them where tissue ends",
        "Largest extent": "-" if none else f"{s['largest_extent_mm']:.2f} mm",
        "Nearest foci": "-" if s["nearest_foci_mm"] is None else f"{s['nearest_foci_mm']:.2f} mm apart",
        "Uncertain": "-" if s["uncertain_share"] is None else f"{s['uncertain_share']:.0%} of the area of IDC",
        "Pen ink": f"{s['ink_mm2']:.2f} mm²",
        "Out of focus": f"{s['out_of_focus_share']:.1%} of tissue",
        "Patches": f"{s['patches']} of {s['patch_mm2']:.3g} mm²",
        "Threshold": f"{parameters['threshold']:.3f}"
        + ("" if parameters["low"] is None else f", outlined from {parameters['low']:.3f} on"),
        "Scale": f"{slide['mpp']['x']:.4g} µm/px ({slide['mpp']['source']})",
        "Size": f"{slide['width']} x {slide['height']} px, {slide['width_mm']:.1f} x {slide['height_mm']:.1f} mm",
        "Model": f"{model['name']} {model['version']}, at {model['mpp']:g} µm/px, computed by {model['engine'] or '-'}",
        "Like training": "not known"
        if familiar is None
        else f"of the slides of training {familiar['pixels']:g} % lie nearer to their middle by pixels, "
        f"{familiar['features']:g} % by features",
        "Fingerprints": f"slide {slide['fingerprint'][:12]}, model {model['sha256'][:12]}",
        "State": s["state"],
    }
    return list(found.items())


def _histogram(run: Pictured) -> dict[str, Any] | None:
    """Return bars over the probabilities, 20 px apart from 45 on, the axis at 160 px; None where there are none."""
    values = run.heatmap[np.isfinite(run.heatmap)]
    if not len(values):
        return None
    counts, edges = np.histogram(values, _BARS, (0, 1))
    top = max(1.0, math.ceil(math.log10(counts.max() + 1)))
    heights = np.log10(counts + 1) / top * 150
    middles = (edges[:-1] + edges[1:]) / 2
    colours = heat_colours(middles, run.level).tolist()
    bars = [
        {
            "x": 46.5 + 20 * n,
            "y": round(160 - float(heights[n]), 1),
            "height": round(float(heights[n]), 1),
            "colour": "rgb({}, {}, {})".format(*colours[n]) if middles[n] >= run.level else "#9aa0a8",
            "title": f"{edges[n]:.2f} to {edges[n + 1]:.2f}: {counts[n]} patches",
        }
        for n in range(_BARS)
    ]
    return {
        "bars": bars,
        "threshold": round(45 + 400 * run.threshold, 1),
        "ticks": [{"x": 45 + 80 * n, "text": f"{n / 5:g}"} for n in range(6)],
        "counts": [
            {"y": round(164 - math.log10(10**n + 1) / top * 150, 1), "text": f"{10**n}"} for n in range(int(top) + 1)
        ],
    }
