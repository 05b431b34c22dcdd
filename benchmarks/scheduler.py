"""How many tasks a second a Dask scheduler passes on, with tasks that do nothing: what bounds a cluster, however large.

    python benchmarks/scheduler.py

Slides go to a cluster as `wsi-idc segment FOLDER --cluster` sends them, chunks as the tasks of any library.
"""

from __future__ import annotations

import time
from typing import Any

import click

from wsi_idc.runs.executors.cluster import connect
from wsi_idc.runs.executors.cluster_tasks import Cluster
from wsi_idc.runs.executors.executor import Limits, Listener


class Counter(Listener):
    """Counts what has ended."""

    def __init__(self) -> None:
        """Begin at none."""
        self.done = 0

    def ended(self, number: int, outcome: Any) -> None:
        """Count a task that returned what it was given."""
        self.done += outcome == number


def nothing(number: int, task: int, listener: Listener) -> int:
    """Return the task."""
    return task


@click.command()
@click.option("--slides", default=500, show_default=True)
@click.option("--chunks", default=10_000, show_default=True)
@click.option("--workers", default=2, show_default=True)
def main(slides: int, chunks: int, workers: int) -> None:
    """Print tasks a second of both kinds."""
    from distributed import wait

    # By the name under which workers find it.
    from scheduler import nothing as job

    with connect(None, "local", workers) as client:
        client.wait_for_workers(workers)
        begun = time.perf_counter()
        wait(client.map(abs, range(chunks), pure=False))
        click.echo(f"chunks: {chunks / (time.perf_counter() - begun):,.0f} tasks a second")
        counter, begun = Counter(), time.perf_counter()
        Cluster(client, Limits()).run(range(slides), job, counter)
        if counter.done != slides:
            raise SystemExit(f"{slides - counter.done} slides did not end")
        click.echo(f"slides: {slides / (time.perf_counter() - begun):,.1f} a second, of {workers} workers")


if __name__ == "__main__":
    main()
