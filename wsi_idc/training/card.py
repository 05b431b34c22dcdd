"""The model card: what a model is, what it was made from and measured on, and what it is not for."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

_GROUPS = {
    "val": "all validation patients",
    "val_whole_sections": "those whose patches form sections",
    "val_sampled_patients": "those with scattered patches",
    "val_lone_patches": "each patch alone, as without neighbours",
    "val_patch_network": "the patch network alone",
}
_METRICS = {
    "auc": "AUC",
    "f1": "F1 (IDC)",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "brier": "Brier score",
    "ece": "expected calibration error",
}


def model_card(
    facts: Mapping[str, Any], result: Mapping[str, Any], config: str, robustness: Mapping[str, Any] | None = None
) -> str:
    """Write the card in Markdown from the fields of model.json, `run.json` of the training, and its configuration.

    With the `robustness` of an evaluation of the model, where there is one.
    """
    groups = {name: values for name, values in facts["metrics"].items() if name in _GROUPS}
    head = "| | " + " | ".join(
        f"{_GROUPS[name]}: {v['patients']:,} patients, {v['patches']:,} patches" for name, v in groups.items()
    )
    rows = [
        f"| {title} | " + " | ".join(_interval(values.get(metric)) for values in groups.values()) + " |"
        for metric, title in _METRICS.items()
    ]
    neighbours = (
        f"A patch's probability depends on the patches within {facts['halo']} of it, missing ones masked, and on how "
        "far its features are from the mean of its slide, so that it takes all patches of a slide to judge one well."
        if facts["halo"]
        else "Each patch is judged by itself."
    )
    data, settings = facts["training_data"], tomllib.loads(config)
    return f"""# {facts["name"]} {facts["version"]}

{facts["description"]}; {result["weights"]:,} weights. Licence: {facts["licence"]}.

**For research use only.** Not a medical device and not for diagnosis.

## What it takes and gives

Patches of {facts["patch_size"]}x{facts["patch_size"]} pixels at {facts["mpp"]:g} um per pixel, RGB, scaled inside the
network; the probability of invasive ductal carcinoma is sigmoid(logit / {facts["temperature"]}), and from
{facts["threshold"]} on a patch counts as IDC. {neighbours}

## Data

Trained on {data["patches"]:,} patches of {data["patients"]} patients: {data["description"]}.{_origin(settings)}

## Measured

With 95 % intervals from a bootstrap over patients; thresholds and temperatures from other patients than those measured
(cross-validated). {_independence(result, settings)}

{head} |
|---|{"---|" * len(groups)}
{chr(10).join(rows)}
{_steadiness(robustness) if robustness else ""}
## Limits

{_doubts(result)}{_of_data(settings)}
- Other scanners, stains and laboratories than those of the training data: not measured.

## Configuration

```toml
{config.rstrip()}
```
"""


def _of_data(config: Mapping[str, Any]) -> str:
    """Say what the patches do not show: of the public ones that is known, of others their owner has to say it."""
    if config["data"]["split"] == "official":
        return """- The public IDC patches hold no slide without cancer and mark no DCIS: specificity on normal
  tissue is not known.
- Labels are coarse outlines of one pathologist; at their borders they are noisy."""
    return """- Whether the patches show tissue of patients without cancer, and carcinoma in situ, is not known here, so
  specificity on normal tissue is not either; nor is who labelled them, and how finely."""


def _doubts(result: Mapping[str, Any]) -> str:
    """List what is doubtful of the temperature, which trainings of older versions do not say."""
    return "".join(f"- {note[0].upper()}{note[1:]}.\n" for note in result.get("notes", ()))


def _steadiness(robustness: Mapping[str, Any]) -> str:
    """Tabulate what perturbations change."""
    # What is not defined is null in JSON.
    own, *changed = (
        {key: np.nan if value is None else value for key, value in v.items()}
        for v in (robustness["unperturbed"], *robustness["perturbations"].values())
    )
    rows = [
        f"| {name} | {v['auc'] - own['auc']:+.3f} | {v['f1'] - own['f1']:+.3f} | {v['changed']:.1%} | "
        f"{v['area_ratio']:.2f} | {v['dice']:.3f} |"
        for name, v in zip(robustness["perturbations"], changed, strict=True)
    ]
    free = ", ".join(
        f"{1 - v['specificity']:.1%} with {float(share):.0%} of the IDC patches left"
        for share, v in robustness["prevalence"].items()
    )
    return f"""
## The same tissue, other pixels

Set {robustness["set_version"]} of perturbations on {robustness["n_patches"]:,} patches of {robustness["n_patients"]}
patients, at the threshold of the model: what AUC and F1 ({own["auc"]:.3f} and
{own["f1"]:.3f}) change by, the share of patches that change class, and the area and the Dice coefficient of the IDC
patches against those of the patches as they are.

| perturbation | AUC | F1 | changed | area | Dice |
|---|---|---|---|---|---|
{chr(10).join(rows)}

Of patches that are not IDC are called so: {free}, and {1 - own["specificity"]:.1%} with all.
"""


def _origin(config: Mapping[str, Any]) -> str:
    model = config["model"]
    begun = model["init"] or (model["weights"] if model["weights"] != "none" else "")
    return f" Training began from the weights of {Path(begun).name}." if begun else ""


def _interval(entry: Mapping[str, Any] | float | None) -> str:
    if entry is None:
        return "not defined"
    if isinstance(entry, Mapping):
        return f"{entry['value']:.3f} ({entry['ci95'][0]:.3f} to {entry['ci95'][1]:.3f})"
    return f"{entry:.3f} (no interval)"


def _independence(result: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Say what training knew of the patients that were measured."""
    if patients_in_both := result["patients_in_both"]:
        return (
            f"**{patients_in_both} of these patients have patches in the training data as well: the numbers do not "
            "say how well the model does on patients that it has not seen.**"
        )
    text = "Training ran without these patients"
    if config["fit"]["early_stopping"]:
        text += ", but when it ended was chosen on them"
    if init := config["model"]["init"]:
        begun = result.get("begun", {"name": init, "val_seen": None})
        if begun["val_seen"] is None:
            text += f"; whether {begun['name']}, from whose weights it began, had seen them is not known here"
        elif count := begun["val_seen"]:
            text += (
                f"; but {begun['name']}, from whose weights it began, had seen {count} of them: the numbers do not say "
                "how well the model does on patients that it has not seen"
            )
        else:
            text += f", and so did that of {begun['name']}, from whose weights it began"
    return f"{text}."
