"""The page of an evaluation, one file that needs no network."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsi_idc.base.pages.html import page, table
from wsi_idc.runs.results.summary import RESEARCH_USE


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
    # That of perturbations has some eighty rows, which are read at the width of the page only.
    images = [_image(f, ' class="figure"') for f in figures if f.stem != "robustness"]
    robustness = "".join(_image(f) for f in figures if f.stem == "robustness")
    body = f"""<p>{RESEARCH_USE}</p>
{"".join(f'<p class="note">{html.escape(n)}</p>' for n in metrics["notes"])}
<p>{metrics["n_patches"]} patches of {metrics["n_patients"]} patients: {html.escape(metrics["measured_on"])}. IDC from
probability {metrics["threshold"]:g} on, {own}: on the patients that it was chosen on, what depends on it is flattered.
Beside each value its 95 % interval, from a bootstrap over patients. Border: patches beside one of the other label; told
from the interior in whole sections only.
</p>
{table(heads, rows)}
{"".join(images)}
<h2>Calibration</h2>
<p>Before: sigmoid(logit). After: sigmoid(logit / temperature), with temperature {temperatures}.</p>
{table(["", *map(_spaced, calibration["before"])], moments)}
{_uncertainty(metrics["uncertainty"]) if "uncertainty" in metrics else ""}
{_robustness(metrics["robustness"], robustness) if "robustness" in metrics else ""}
<h2>Classification report</h2>
<pre>{html.escape(report)}</pre>
<h2>Patients</h2>
{table(["patient", "patches", "IDC", *map(_spaced, names)], patients)}"""
    path.write_text(page(f"Evaluation of {' with '.join(models)}{views}", body), encoding="utf-8")


def _uncertainty(found: Mapping[str, Any]) -> str:
    """Describe how uncertainty and errors go together."""
    rows = [
        [f"{n} of 4", f"{_value(q['from'])} to {_value(q['to'])}", str(q["n_patches"]), _interval(q["error_rate"])]
        for n, q in enumerate(found["quartiles"], 1)
    ]
    return f"""<h2>Uncertainty</h2>
<p>The standard deviation of a patch's probability over models and views. How often a wrong patch is more uncertain than
a right one (AUC): {_interval(found["auc_of_errors"])}</p>
{table(["quarter", "uncertainty", "patches", "share wrong"], rows)}"""


def _robustness(found: Mapping[str, Any], image: str) -> str:
    """Show and tabulate what perturbations change, and what fewer IDC patches beside them do to the others."""
    names = ["auc", "f1", "balanced_accuracy", "ece", "changed", "mean_shift", "area_ratio", "dice"]
    shown = {"as they are": found["unperturbed"], **found["perturbations"]}
    rows = [[html.escape(name), *(_value(v[n]) for n in names)] for name, v in shown.items()]
    free = [[f"{float(share):.0%}", _value(1 - v["specificity"])] for share, v in found["prevalence"].items()]
    return f"""<h2>The same tissue, other pixels</h2>
<p>Set {found["set_version"]} of perturbations. Changed: share of patches that change class; area ratio and Dice against
the IDC patches as they are.</p>
{image}
{table(["perturbation", *map(_spaced, names)], rows)}
<p>With IDC patches taken out of each section, the share of the other patches that is called IDC:</p>
{table(["IDC patches left", "called IDC"], free)}"""


def _image(figure: Path, shown: str = "") -> str:
    """Return a figure as a picture within the page, as wide as that, or as an attribute says."""
    data = base64.b64encode(figure.read_bytes()).decode()
    return f'<img{shown} alt="{_spaced(figure.stem)}" src="data:image/png;base64,{data}">'


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _value(number: float) -> str:
    # Not -0.000.
    return f"{round(number, 3) + 0.0:.3f}" if np.isfinite(number) else "–"


def _interval(entry: Mapping[str, Any]) -> str:
    low, high = entry["ci95"]
    interval = f" <small>{low:.3f} to {high:.3f}</small>" if np.isfinite(low) else ""
    return _value(entry["value"]) + interval
