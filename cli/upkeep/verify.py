"""`wsi-idc verify`."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import click

from wsi_idc.cli.options import echo, json_option, print_table


@click.command()
@click.argument("output", type=click.Path(path_type=Path))
@json_option
def verify(output: Path, as_json: bool) -> None:
    """Say which results are whole: every file, to the last bit.

    OUTPUT is an output folder of wsi-idc segment, or the folder of one slide. Each file is held beside its sum in
    summary.json, manifest.csv and index.html beside their own; log.jsonl has none. Changes nothing. Results of older
    versions have no sums, which is said and no fault; what else lies in a folder is named. Exit status: 0 nothing is
    damaged, 1 something is.
    """
    from wsi_idc.runs.upkeep.verify import DAMAGED, NO_SUMS
    from wsi_idc.runs.upkeep.verify import verify as look

    found = look(output)
    if as_json:
        facts = {"whole": found.whole, "faults": found.faults}
        runs = [dataclasses.asdict(run) | {"folder": str(run.folder)} for run in found.runs]
        echo(json.dumps(facts | {"runs": runs}, indent=2))
    else:
        counts = Counter(run.state for run in found.runs)
        print_table([("results", "slides"), *((state, str(count)) for state, count in counts.most_common())])
        for run in found.runs:
            if run.extra:
                echo(f"beside them: {', '.join(click.format_filename(run.folder / name) for name in run.extra)}")
        if counts[NO_SUMS]:
            echo("no sums: made by an older version, so only that their files are there is known")
        for fault in [*found.faults, *(fault for run in found.runs for fault in run.faults)]:
            echo(f"damaged: {click.format_filename(fault)}", err=True)
        if counts[DAMAGED]:
            echo("compute these slides again with --overwrite, or put a copy of their files back", err=True)
    if not found.whole:
        raise click.exceptions.Exit(1)
