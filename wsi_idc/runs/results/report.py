"""What a person reads: report.html, one file that needs no network."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsi_idc.base.pages.html import page, table
from wsi_idc.regions.regions import Region
from wsi_idc.runs.results.summary import RESEARCH_USE


def write_report(path: Path, summary: Mapping[str, Any], overview: Path, regions: Sequence[Region]) -> None:
    """Write one HTML page with the numbers, the regions and the overview inside it."""
    image = base64.b64encode(overview.read_bytes()).decode("ascii")
    slide, model, parameters = summary["slide"], summary["model"], summary["parameters"]
    facts = {
        "State": summary["state"],
        "IDC area": f"{summary['idc_mm2']:.2f} mm²",
        "Tissue area": f"{summary['tissue_mm2']:.2f} mm²",
        "IDC share of tissue": "none" if summary["idc_share"] is None else f"{summary['idc_share']:.1%}",
        "Foci": summary["foci"],
        "Largest extent": f"{summary['largest_extent_mm']:.2f} mm",
        "Nearest foci": "-" if summary["nearest_foci_mm"] is None else f"{summary['nearest_foci_mm']:.2f} mm apart",
        "Foci at an edge of tissue": summary["foci_at_tissue_edge"],
        "Foci at an edge of the slide": summary["foci_at_slide_edge"],
        "Uncertain": "-" if summary["uncertain_share"] is None else f"{summary['uncertain_share']:.0%} of the IDC area",
        "Patches computed": summary["patches"],
        "Pen ink": f"{summary['ink_mm2']:.2f} mm²",
        "Out of focus": f"{summary['out_of_focus_share']:.1%} of tissue",
        "Scale": f"{slide['mpp']['x']:.4g} µm/px ({slide['mpp']['source']})",
        "Size": f"{slide['width']} x {slide['height']} px, {slide['width_mm']:.1f} x {slide['height_mm']:.1f} mm",
        "Model": f"{model['name']} {model['version']}, {model['mpp']:g} µm/px, sha256 {model['sha256'][:12]}",
        "Threshold": f"{parameters['threshold']:.3f}",
    }
    failed = [f"{c['patches']} patches not computed: {c['reason']}" for c in summary["failed_chunks"]]
    notes = [*summary["warnings"], *failed]
    heads = ("Region", "Area mm²", "Perimeter mm", "Largest diameter mm", "Mean", "Max", "95 %", "Patches")
    rows = [[f"IDC {number}", *_cells(region)] for number, region in enumerate(regions, 1)]
    body = f"""<p>{RESEARCH_USE}</p>
{"".join(f'<p class="note">{html.escape(n)}</p>' for n in notes)}
<table>{"".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(str(v))}</td></tr>" for k, v in facts.items())}</table>
<img alt="The slide with its regions, and its probability of IDC" src="data:image/png;base64,{image}">
<h2>Regions</h2>
{table(heads, rows) if rows else "<p>No region at this threshold.</p>"}"""
    path.write_text(page(f"wsi-idc: {slide['slide']}", body), encoding="utf-8")


def _cells(region: Region) -> list[str]:
    lengths = (region.perimeter_mm, region.largest_diameter_mm)
    probabilities = (region.mean_probability, region.max_probability, region.p95_probability)
    return [f"{region.area_mm2:.3f}", *(f"{v:.2f}" for v in (*lengths, *probabilities)), str(region.patches)]
