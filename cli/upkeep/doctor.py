"""`wsi-idc doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

import click

from wsi_idc.cli.options import echo, json_option


@click.command()
@click.argument("output", type=click.Path(path_type=Path), default=".")
@json_option
def doctor(output: Path, as_json: bool) -> None:
    """Look at this installation: packages, models, engines, readers, caches, and the disk of OUTPUT.

    Engines and readers are tried, on slides of a few pixels that are removed again. "missing" is what an extra would
    bring. Exit status 1 where something is at fault.
    """
    from wsi_idc.api.doctor import FAULT, examine

    findings = examine(output)
    faults = [finding for finding in findings if finding.state == FAULT]
    if as_json:
        echo(json.dumps({"ok": not faults, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        for group, listed in groupby(findings, key=lambda finding: finding.group):
            echo(group)
            for finding in listed:
                echo(f"  {finding.state:<7}  {finding.name}: {finding.detail}")
        echo(f"at fault: {', '.join(finding.name for finding in faults)}" if faults else "nothing at fault")
    if faults:
        click.get_current_context().exit(1)
