"""What a test has no time for: an hour of runs and viewing, hundreds of kills, thousands of damaged files.

    python benchmarks/soak.py [--minutes N] [--kills N] [--trainings N] [--servings N] [--edits N] [--mutations N]
                              [--seed N] [--folder NEW]

Prints the table of `docs/reliability.md`: each promise, how it was tried, and what was found; exit status 1 where one
is broken. What is given as 0 is left out. FOLDER keeps what was noted on the way, in `soak.json`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
from bench import Bench, Tried
from killed import editing, segmenting, training
from lasting import lasting
from mutations import LIMIT_S, faults_of, try_all
from serving import serving

# Memory of a process that reads damaged files, MiB.
_MOST_MIB = 500


def damaged(bench: Bench, count: int, seed: int) -> list[Tried]:
    """Damaged files of every kind, through every reader and command; see `mutations.py`."""
    outcomes = dict(try_all(count, seed))
    faults = [fault for name, found in outcomes.items() for fault in faults_of(name, found)]
    ended = [name for name, found in outcomes.items() if found.ended]
    slow, peak = sum(o.slow for o in outcomes.values()), max(o.peak_mib for o in outcomes.values())
    bench.raw["damaged"] = {"faults": faults, "ended": ended}
    done = sum(o.mutations for o in outcomes.values())
    figure = (
        f"{done:,} mutations over {len(outcomes)} readers: {len(faults)} kinds of "
        f"traceback, {len(ended)} ends of a process, {slow} beyond {LIMIT_S:.0f} s, at most {peak} MiB"
    )
    how = f"bytes and values of every kind of file that is read, by Python and by commands, seed {seed}"
    holds = not (faults or ended or slow) and peak < _MOST_MIB
    return [Tried("A damaged file is refused by its name, without a traceback", how, figure, holds)]


def tries(bench: Bench, minutes: float, counts: dict[str, int], seed: int) -> Iterator[Tried]:
    """Do what is asked for, one after another."""
    ways = {
        "kills": segmenting,
        "edits": editing,
        "trainings": training,
        "servings": serving,
        "mutations": damaged,
    }
    for name, way in ways.items():
        if counts[name]:
            yield from way(bench, counts[name], seed)
    if minutes:
        yield from lasting(bench, minutes)


@click.command()
@click.option("--minutes", type=click.FloatRange(0), default=60, show_default=True, help="Of runs and viewing.")
@click.option("--kills", type=click.IntRange(0), default=300, show_default=True, help="Of segment, over folders.")
@click.option("--edits", type=click.IntRange(0), default=50, show_default=True, help="Kills of an editor.")
@click.option("--trainings", type=click.IntRange(0), default=20, show_default=True, help="Kills of train.")
@click.option("--servings", type=click.IntRange(0), default=100, show_default=True, help="Kills of serve.")
@click.option(
    "--mutations", type=click.IntRange(0), default=10_000, show_default=True, help="Of files, over all readers."
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="A new folder.  [default: a temporary one]")
def main(minutes: float, seed: int, folder: Path | None, **counts: int) -> None:
    """Print the table."""
    click.echo("| promise | how it was tried | figure |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        bench, holds = Bench(folder or Path(place), quick=False), True
        bench.folder.mkdir(parents=True, exist_ok=not folder)
        for one in tries(bench, minutes, counts, seed):
            click.echo(one.row())
            holds &= one.holds
            (bench.folder / "soak.json").write_text(json.dumps(bench.raw, indent=2))
    if not holds:
        raise click.exceptions.Exit(1)


if __name__ == "__main__":
    main()
