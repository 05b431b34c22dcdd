"""A Dask cluster, and chunks of a slide on it: what travels are paths, so every machine must see the same files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from wsi_idc.base.extras import missing
from wsi_idc.base.grid import Grid
from wsi_idc.errors import ClusterError, ModelError
from wsi_idc.heatmap.encode import Chunk, Encoded, Encoder, open_encoder
from wsi_idc.heatmap.stream import RunChunks
from wsi_idc.inference.choose import make_engine
from wsi_idc.inference.predictor import Predictor
from wsi_idc.models.package import load_package
from wsi_idc.slides.slide import Slide

if TYPE_CHECKING:
    from distributed import Client

# Kinds of clusters and what makes them: dask-jobqueue takes their settings from Dask's own configuration files.
CLUSTERS = {
    "local": ("distributed", "LocalCluster"),
    "cuda": ("dask_cuda", "LocalCUDACluster"),
    "slurm": ("dask_jobqueue", "SLURMCluster"),
    "pbs": ("dask_jobqueue", "PBSCluster"),
    "lsf": ("dask_jobqueue", "LSFCluster"),
    "sge": ("dask_jobqueue", "SGECluster"),
    "htcondor": ("dask_jobqueue", "HTCondorCluster"),
}

# A busy machine begins a worker that died anew more slowly than the 15 s after which Dask does without it for good.
_PATIENT = {"distributed.deploy.lost-worker-timeout": "10 minutes"}


@contextmanager
def connect(scheduler: str | None, cluster: str | None, workers: int) -> Iterator[Client]:
    """Connect to the Dask scheduler at an address, or start a cluster of a kind in `CLUSTERS` with `workers` workers.

    Raises ClusterError where a package is missing, or nobody answers.
    """
    import importlib

    try:
        import dask
        from distributed import Client
    except ImportError as error:
        raise missing(error, "cluster") from error
    if cluster is None:
        try:
            client = Client(scheduler, timeout=20)
        except (OSError, ValueError) as error:
            raise ClusterError(f"{scheduler}: no Dask scheduler answers there ({error})") from error
        with client:
            yield client
        return
    package, kind = CLUSTERS[cluster]
    try:
        make = getattr(importlib.import_module(package), kind)
    except ImportError as error:
        name = package.replace("_", "-")
        raise ClusterError(f"--cluster {cluster} needs {name}; install it with: pip install {name}") from error
    settings = {"n_workers": workers, "threads_per_worker": 1} if cluster == "local" else {}
    try:
        made = make(**settings)
    except (OSError, ValueError, RuntimeError) as error:
        raise ClusterError(f"--cluster {cluster}: cannot be started ({error})") from error
    with dask.config.set(_PATIENT if cluster == "local" else {}), made, Client(made) as client:
        if package == "dask_jobqueue":
            made.scale(jobs=workers)
        yield client


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What another machine needs to encode chunks of a slide; `kept` is the folder of the run for unfinished things.

    `identity` tells two slides apart that lie at one path one after the other.
    """

    identity: str
    slide: Path
    mpp: float | None
    icc: str
    model: Path
    engine: str
    kept: Path
    chunk: int
    views: int


def in_cluster(client: Client, there: Elsewhere) -> RunChunks:
    """Encode on the workers of a cluster; a worker that dies costs the chunks that it had in hand."""

    def run(here: Encoder, packs: list[list[Chunk]], on_done: Callable[[Chunk, Encoded], None]) -> None:
        from distributed import as_completed

        futures = client.map(_encode, [there] * len(packs), [here.grid] * len(packs), packs, pure=False)
        numbers = {future: number for number, future in enumerate(futures)}
        for future, found in as_completed(futures, loop=client.loop, with_results=True):
            for chunk, encoded in zip(packs[numbers[future]], found, strict=True):
                on_done(chunk, encoded)

    return run


def _encode(there: Elsewhere, grid: Grid, chunks: list[Chunk]) -> list[Encoded]:
    return _encoder(there, grid)(chunks)


@lru_cache(maxsize=1)
def _encoder(there: Elsewhere, grid: Grid) -> Encoder:
    slide, predictor = (
        Slide(there.slide, there.mpp, icc=there.icc),
        _predictor(there.model, there.engine, json.loads(there.identity)["model_sha256"]),
    )
    return open_encoder(slide, grid, predictor, there.kept, there.chunk, there.views)


@lru_cache(maxsize=1)
def _predictor(model: Path, engine: str, sha256: str) -> Predictor:
    from distributed import get_worker

    package = load_package(model)
    if package.sha256 != sha256:
        raise ModelError(f"{model}: is not the model that the run was begun with; run again once it stays as it is")
    return Predictor(package, make_engine(engine, package, get_worker().state.nthreads))
