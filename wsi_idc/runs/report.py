"""What a person reads: report.html, and the page of an evaluation, each one file that needs no network."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsi_idc.regions.regions import Region
from wsi_idc.runs.summary import RESEARCH_USE


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
{_table(heads, rows) if rows else "<p>No region at this threshold.</p>"}"""
    path.write_text(_page(f"wsi-idc: {slide['slide']}", body), encoding="utf-8")


def _page(title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222 }}
table {{ border-collapse: collapse; margin: 1rem 0 }} td, th {{ padding: .2rem .8rem .2rem 0; text-align: left }}
tr {{ border-bottom: 1px solid #ddd }} .numbers :is(td, th):not(:first-child) {{ text-align: right }}
small {{ color: #666; display: inline-block; white-space: nowrap }} pre {{ line-height: 1.3 }}
img {{ max-width: 100% }} .figure {{ width: 32% }} .note {{ background: #fff3cd; padding: .4rem .8rem }}
</style></head><body>
<h1>{html.escape(title)}</h1>
{body}
</body></html>
"""


def _cells(region: Region) -> list[str]:
    lengths = (region.perimeter_mm, region.largest_diameter_mm)
    probabilities = (region.mean_probability, region.max_probability, region.p95_probability)
    return [f"{region.area_mm2:.3f}", *(f"{v:.2f}" for v in (*lengths, *probabilities)), str(region.patches)]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{h}</th>" for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    return f'<table class="numbers"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def write_evaluation(path: Path, metrics: Mapping[str, Any], report: str, figures: Sequence[Path]) -> None:
    """Write one HTML page with the metrics of an evaluation, its groups, its patients and its figures inside.

    `report` is scikit-learn's classification report.
    """
    names = [name for name, entry in metrics.items() if isinstance(entry, dict) and "ci95" in entry]
    columns = {"all": metrics} | {n: g for n, g in metrics["groups"].items() if g["n_patches"]}
    heads = ["", *map(_spaced, columns)]
    rows = [[_spaced(n), *(str(g[f"n_{n}"]) for g in columns.values())] for n in ("patches", "patients")]
    rows += [[_spaced(n), *(_interval(g[n]) for g in columns.values())] for n in names]
    calibration = metrics["calibration"]
    moments = [[f"{when} calibration", *map(_interval, calibration[when].values())] for when in calibration]
    patients = [
        [html.escape(patient), str(p["n_patches"]), str(p["n_idc"]), *(_value(p[n]) for n in names)]
        for patient, p in metrics["per_patient"].items()
    ]
    models = [f"{m['name']} {m['version']}" for m in metrics["models"]]
    views = ", each in eight views" if metrics["tta"] else ""
    own = "the model's own" if len(models) == 1 else "the mean, as logits, of the models' own"
    temperatures = ", ".join(f"{m['temperature']:g}" for m in metrics["models"])
    images = [
        f'<img class="figure" alt="{_spaced(f.stem)}" '
        f'src="data:image/png;base64,{base64.b64encode(f.read_bytes()).decode()}">'
        for f in figures
    ]
    body = f"""<p>{RESEARCH_USE}</p>
{"".join(f'<p class="note">{html.escape(n)}</p>' for n in metrics["notes"])}
<p>{metrics["n_patches"]} patches of {metrics["n_patients"]} patients. IDC from probability {metrics["threshold"]:g} on,
{own}: on the patients that it was chosen on, what depends on it is flattered. Beside each value its 95 % interval, from
a bootstrap over patients. Border: patches beside one of the other label; told from the interior in whole sections only.
</p>
{_table(heads, rows)}
{"".join(images)}
<h2>Calibration</h2>
<p>Before: sigmoid(logit). After: sigmoid(logit / temperature), with temperature {temperatures}.</p>
{_table(["", *map(_spaced, calibration["before"])], moments)}
{_uncertainty(metrics["uncertainty"]) if "uncertainty" in metrics else ""}
<h2>Classification report</h2>
<pre>{html.escape(report)}</pre>
<h2>Patients</h2>
{_table(["patient", "patches", "IDC", *map(_spaced, names)], patients)}"""
    path.write_text(_page(f"Evaluation of {' with '.join(models)}{views}", body), encoding="utf-8")


def _uncertainty(found: Mapping[str, Any]) -> str:
    """Describe how uncertainty and errors go together."""
    rows = [
        [f"{n} of 4", f"{_value(q['from'])} to {_value(q['to'])}", str(q["n_patches"]), _interval(q["error_rate"])]
        for n, q in enumerate(found["quartiles"], 1)
    ]
    return f"""<h2>Uncertainty</h2>
<p>The standard deviation of a patch's probability over models and views. How often a wrong patch is more uncertain than
a right one (AUC): {_interval(found["auc_of_errors"])}</p>
{_table(["quarter", "uncertainty", "patches", "share wrong"], rows)}"""


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _value(number: float) -> str:
    return f"{number:.3f}" if np.isfinite(number) else "–"


def _interval(entry: Mapping[str, Any]) -> str:
    low, high = entry["ci95"]
    interval = f" <small>{low:.3f} to {high:.3f}</small>" if np.isfinite(low) else ""
    return _value(entry["value"]) + interval
