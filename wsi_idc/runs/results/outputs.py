"""What a run leaves behind, described: JSON Schemas, the faults of a run by them, and the page that shows them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

_SCHEMAS = Path(__file__).with_name("schemas")
NAMES = ("summary", "manifest", "heatmap", "regions")


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema `name`, one of `NAMES`. Keys that it does not know are allowed: versions may add some."""
    found: dict[str, Any] = json.loads(schema_file(name).read_text(encoding="utf-8"))
    return found


def schema_file(name: str) -> Path:
    """Return the file of the JSON Schema `name`."""
    if name == "heatmap":
        # Loads NumPy, which finding and listing slides do without.
        from wsi_idc.heatmap.stored import SCHEMA

        return SCHEMA
    return _SCHEMAS / f"{name}.schema.json"


def faults(folder: Path) -> list[str]:
    """Say where the results of a run, and the manifest beside its folder, are not as described; [] for nowhere."""
    import jsonschema

    from wsi_idc.heatmap.store import read_provenance

    features = json.loads((folder / "regions.geojson").read_text(encoding="utf-8"))["features"]
    with (folder.parent / "manifest.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        rows = list(csv.DictReader(stream))
    documents = {
        "summary": [json.loads((folder / "summary.json").read_text(encoding="utf-8"))],
        "manifest": rows,
        "heatmap": [read_provenance(folder / "heatmap.zarr")],
        "regions": [feature["properties"]["measurements"] for feature in features],
    }
    return [
        f"{name}: {fault.json_path}: {fault.message}"
        for name, found in documents.items()
        for document in found
        for fault in jsonschema.Draft202012Validator(schema(name)).iter_errors(document)
    ]


def page() -> str:
    """Write docs/outputs.md: a table for each schema."""
    parts = [
        "# What comes out\n",
        "Made from the schemas in `wsi_idc/runs/results/schemas/` by",
        "`python -m wsi_idc.runs.results.outputs > docs/outputs.md`. A key that is not listed may be there: later",
        "versions add some. `result_format` is raised where what is listed changes.",
    ]
    for name in NAMES:
        described = schema(name)
        title, _, rest = described["title"].partition(": ")
        parts += [f"\n## {title}\n", f"{rest[0].upper()}{rest[1:]}.\n", "| key | type | what it is |", "|---|---|---|"]
        parts += _rows(described, "")
    return "\n".join(parts) + "\n"


def _rows(described: dict[str, Any], before: str) -> list[str]:
    """Write a row for each key, then those of objects in it (`slide.mpp.x`) and in lists (`levels[].mpp`)."""
    rows = []
    for key, value in described.get("properties", {}).items():
        kinds = value["type"] if isinstance(value["type"], list) else [value["type"]]
        optional = "" if key in described.get("required", ()) else ", may be absent"
        rows.append(f"| `{before}{key}` | {' or '.join(kinds)}{optional} | {value.get('description', '')} |")
        # The parameters of the identity are those above.
        if f"{before}{key}" != "identity.parameters":
            rows += _rows(value, f"{before}{key}.")
            rows += _rows(value.get("items", {}), f"{before}{key}[].")
    return rows


if __name__ == "__main__":
    print(page(), end="")
