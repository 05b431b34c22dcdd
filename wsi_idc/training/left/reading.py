"""What a training leaves in its folder, read back: whole, as it was written, or a DataError that names the file."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsi_idc.base.inputs.bounded import read_lines, read_text
from wsi_idc.base.inputs.documents import checked, read_json
from wsi_idc.errors import DataError
from wsi_idc.training.config import TrainConfig, read_config

CONFIG, RESULT, LOGITS, FAMILIAR = "config.toml", "run.json", "val-logits.csv", "familiar.json"
# Bytes: of documents, and of a table with a row for each validation patch.
_LARGEST, _LARGEST_TABLE = 1 << 24, 1 << 28
_NUMBER = {"type": ["number", "null"]}
_WITH_INTERVAL = {
    "type": "object",
    "required": ["value", "ci95"],
    "properties": {"value": _NUMBER, "ci95": {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2}},
}
_METRICS = {
    "type": "object",
    "required": ["patients"],
    "properties": {"patients": {"type": "integer"}}
    | dict.fromkeys(("auc", "f1", "balanced_accuracy", "accuracy", "ece"), _WITH_INTERVAL),
}
_COUNT = {"type": "integer", "minimum": 0}
_NAMES = {"type": "array", "items": {"type": "string"}}
_RESULT: Mapping[str, Any] = {
    "type": "object",
    "required": ["architecture", "patch_size", "halo", "training_data", "threshold", "temperature", "metrics"],
    "properties": {
        "architecture": {"type": "string"},
        "training_data": {"type": "object", "required": ["patients", "patches"], "additionalProperties": _COUNT},
        "mpp": _NUMBER,
        "patients_seen": _NAMES,
        "begun": {
            "type": "object",
            "required": ["name", "licence", "official_parts", "val_seen"],
            "properties": {
                "licence": {"type": "string"},
                "official_parts": _NAMES,
                "val_seen": {"type": ["integer", "null"], "minimum": 0},
            },
        },
        "threshold": {"type": "number"},
        "temperature": {"type": "number"},
        "metrics": {"type": "object", "required": ["val"], "additionalProperties": _METRICS},
    }
    | dict.fromkeys(("patch_size", "halo", "weights", "patients_in_both", "left_out"), _COUNT),
}


def read_result(run: Path) -> dict[str, Any]:
    """Read run.json of a training; raises DataError where it is damaged."""
    return dict(_document(run / RESULT, _RESULT))


def read_familiar(run: Path) -> dict[str, Any] | None:
    """Read what the slides of training were like, None where they were too few; raises DataError for damage."""
    found: dict[str, Any] | None = _document(run / FAMILIAR, {"type": ["object", "null"]})
    return found


def read_measured(file: Path) -> dict[str, Any]:
    """Read metrics.json of an evaluation; raises DataError where it is not one of `evaluate --perturb`."""
    measure = {"type": "object", "additionalProperties": _NUMBER}
    shape = {
        "type": "object",
        "required": ["models", "robustness"],
        "properties": {
            "models": {"type": "array", "items": {"type": "object", "required": ["temperature", "threshold"]}},
            "robustness": {
                "type": "object",
                "required": ["set_version", "n_patches", "n_patients", "unperturbed", "perturbations", "prevalence"],
                "properties": {
                    "n_patches": _COUNT,
                    "n_patients": _COUNT,
                    "unperturbed": measure,
                    "perturbations": {"type": "object", "additionalProperties": measure},
                    "prevalence": {"type": "object", "additionalProperties": measure},
                },
            },
        },
    }
    try:
        return dict(checked(read_json(file, _LARGEST), shape))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: is not of `wsi-idc evaluate --perturb` ({error}); run that") from error


def read_config_of(run: Path) -> tuple[TrainConfig, str]:
    """Read the configuration of a training, and its text with all keys; raises DataError where it is damaged."""
    begin = held_config(run).partition("\n")[0]
    config = read_config(run / CONFIG)
    return config, f"{begin}\n{config.toml()}" if begin.startswith("#") else config.toml()


def held_config(run: Path) -> str:
    """Read the text of the configuration of a training; raises DataError where it cannot be read."""
    try:
        return read_text(run / CONFIG, _LARGEST)
    except (OSError, ValueError) as error:
        raise DataError(f"{run / CONFIG}: cannot be read ({error}); choose another -o") from error


def read_logits(run: Path) -> list[dict[str, str]]:
    """Read the rows of val-logits.csv; raises DataError where it is damaged."""
    path = run / LOGITS
    try:
        rows = list(csv.DictReader(read_lines(path, _LARGEST_TABLE)))
        for row in rows:
            float(row["logit"]), int(row["label"]), row["patient"].strip()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise DataError(f"{path}: is damaged; {_BEGIN_AGAIN}") from error
    return rows


_BEGIN_AGAIN = f"remove {RESULT} and run `wsi-idc train` again"


def _document(path: Path, schema: Mapping[str, Any]) -> Any:
    try:
        return read_json(path, _LARGEST, schema)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {_BEGIN_AGAIN}") from error
    except ValueError as error:
        raise DataError(f"{path}: is damaged ({error}); {_BEGIN_AGAIN}") from error
