import os
import signal
import sys
import threading
import time

import pytest
from distributed import Client, LocalCluster

from wsi_idc import Settings, find_model
from wsi_idc.cli.segment import segment as command
from wsi_idc.demo.painter import paint_section
from wsi_idc.errors import ClusterError
from wsi_idc.runs.batch import segment_slides
from wsi_idc.runs.cluster import CLUSTERS, connect
from wsi_idc.slides.write import write_slide

from helpers import contents


@pytest.fixture(scope="module")
def client():
    settings = {"processes": True, "n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**settings) as cluster, Client(cluster) as connected:
        yield connected


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    sections = [paint_section(2.0, 1.6, 4.0, seed=seed) for seed in range(4)]
    return [write_slide(folder / f"{n}.tif", s.pixels, s.mpp, downsamples=(1,)) for n, s in enumerate(sections)]


@pytest.fixture(scope="module")
def alone(slides, tmp_path_factory):
    """What the first slide gives in this process."""
    output = tmp_path_factory.mktemp("alone")
    return segment_slides(slides[:1], output, find_model("idc-patch"), Settings(chunk=2))[slides[0]]


def test_the_chunks_of_one_slide(client, slides, alone, tmp_path):
    counts = []
    outcomes = segment_slides(
        slides[:1],
        tmp_path,
        find_model("idc-patch"),
        Settings(chunk=2),
        on_slide=lambda number, count, slide: lambda patches: counts.append,
        client=client,
    )
    result = outcomes[slides[0]]
    assert contents(result.folder) == contents(alone.folder)
    assert sum(counts) == result.summary["patches"]


def test_a_folder_of_which_a_worker_dies(client, slides, alone, tmp_path):
    """All slides are done, and the one that the worker had in hand ends as though nothing had been."""
    killed = []

    def kill_one():
        for _ in range(600):
            for holder in tmp_path.glob("*/.holder"):
                pid = int(holder.read_text().split()[1])
                if list(holder.parent.glob(".unfinished/features*/[0-9]*.npy")) and not killed:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                    return
            time.sleep(0.02)

    killer = threading.Thread(target=kill_one)
    killer.start()
    outcomes = segment_slides(slides, tmp_path, find_model("idc-patch"), Settings(chunk=2), client=client)
    killer.join()
    assert killed
    assert killed[0] != os.getpid()
    assert [o.summary["state"] for o in outcomes.values()] == ["done"] * 4
    assert contents(outcomes[slides[0]].folder) == contents(alone.folder)


def test_a_scheduler_that_is_not_there():
    with pytest.raises(ClusterError, match="no Dask scheduler answers"), connect("tcp://127.0.0.1:9", None, 1):
        pass


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    with pytest.raises(ClusterError, match="needs dask-cuda"), connect(None, "cuda", 1):
        pass


def test_the_command_offers_every_kind_of_cluster():
    """Its list is its own, so that help need not import what clusters take."""
    (option,) = (p for p in command.params if p.name == "cluster")
    assert list(option.type.choices) == list(CLUSTERS)
