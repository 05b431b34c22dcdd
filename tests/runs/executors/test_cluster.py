import os
import signal
import sys
import threading
import time

import dask
import pytest
from cluster_jobs import Counted, do
from distributed import Client, LocalCluster
from runs.executors.test_processes import gone

from wsi_idc import Settings, find_model
from wsi_idc.cli.segment import segment as command
from wsi_idc.demo.painter import paint_section
from wsi_idc.errors import ClusterError, LostError, ScaleError
from wsi_idc.runs.batch import segment_slides
from wsi_idc.runs.executors.cluster import CLUSTERS, connect
from wsi_idc.runs.executors.cluster_tasks import Cluster, _do, _Given, _Run
from wsi_idc.runs.executors.executor import Limits, Listener
from wsi_idc.slides.write import write_slide

from helpers import contents


@pytest.fixture(scope="module")
def client():
    settings = {"processes": True, "n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    # A busy machine begins a worker that died anew more slowly than the 15 s after which Dask would do without it.
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "10 minutes"}),
        LocalCluster(**settings) as cluster,
        Client(cluster) as connected,
    ):
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

    class Counts(Listener):
        def advanced(self, number, patches):
            counts.append(patches)

    outcomes = segment_slides(
        slides[:1],
        tmp_path,
        find_model("idc-patch"),
        Settings(chunk=2),
        Counts(),
        client=client,
    )
    result = outcomes[slides[0]]
    assert contents(result.folder) == contents(alone.folder)
    assert sum(counts) == result.summary["patches"]


def test_a_folder_of_which_a_worker_dies(client, slides, alone, tmp_path):
    """All slides are done, and the one that the worker had in hand ends as though nothing had been."""
    killed, over = [], threading.Event()

    def kill_one():
        while not over.is_set():
            for holder in tmp_path.glob("*/.holder"):
                pid = int(holder.read_text().split()[1])
                if list(holder.parent.glob(".unfinished/features*/[0-9]*.f32")) and not killed:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                    return
            time.sleep(0.02)

    killer = threading.Thread(target=kill_one)
    killer.start()
    outcomes = segment_slides(slides, tmp_path, find_model("idc-patch"), Settings(chunk=2), client=client)
    over.set()
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


class Notes(Listener):
    def __init__(self):
        self.outcomes, self.events = {}, []

    def started(self, number):
        self.events.append(("started", number))

    def planned(self, number, patches):
        self.events.append(("planned", number, patches))

    def advanced(self, number, patches):
        self.events.append(("advanced", number, patches))

    def delayed(self, number, reason):
        self.events.append(("delayed", number))

    def ended(self, number, outcome):
        self.events.append(("ended", number))
        self.outcomes[number] = outcome


def test_a_time_limit_and_an_error_cost_their_own_task(client, tmp_path):
    notes = Notes()
    tasks = [("sleep", tmp_path / "pid"), ("wrong", None), ("fine", None), ("fine", None)]
    Cluster(client, Limits(minutes=0.2)).run(tasks, do, notes)
    assert str(notes.outcomes[0]) == "took longer than 0.2 minutes; give more with --time-limit"
    assert isinstance(notes.outcomes[0], LostError)
    assert isinstance(notes.outcomes[1], ScaleError)
    assert notes.outcomes[2] not in client.run(os.getpid).values(), "a process of its own, not the worker"
    expected = [("started", 2), ("planned", 2, 5), ("advanced", 2, 5), ("ended", 2)]
    assert [e for e in notes.events if e[1] == 2] == expected
    assert gone(int((tmp_path / "pid").read_text()))


def test_what_crashes_is_tried_again_as_often_as_asked_and_the_worker_lives(client, tmp_path):
    before = set(client.run(os.getpid).values())
    for retries, told in ((0, ""), (2, ", in each of 3 tries")):
        notes, path = Notes(), tmp_path / f"{retries}"
        Cluster(client, Limits(retries=retries)).run([("die", path), ("fine", None)], do, notes)
        assert str(notes.outcomes[0]) == f"its process was killed by signal 11 (SIGSEGV){told}"
        assert len(path.read_text()) == 1 + retries
        assert isinstance(notes.outcomes[1], int)
    assert set(client.run(os.getpid).values()) == before


def test_a_task_that_takes_workers_with_it_is_given_up_after_as_many_tries(client, tmp_path):
    notes = Notes()
    tasks = [("die with the worker", tmp_path / "x"), *[("fine", None)] * 3]
    Cluster(client, Limits(retries=1)).run(tasks, do, notes)
    assert str(notes.outcomes[0]) == "its worker died, in each of 2 tries"
    # Beside others, and alone; there may be more, since that it began can be on its way when the worker dies.
    assert len((tmp_path / "x").read_text()) >= 3
    assert all(isinstance(notes.outcomes[n], int) for n in (1, 2, 3)), "what was beside it"
    client.wait_for_workers(2)


def test_without_a_second_try_others_do_not_die_of_it_either(client, tmp_path):
    notes = Notes()
    tasks = [("die with the worker", tmp_path / "x"), *[("fine", None)] * 3]
    Cluster(client, Limits(retries=0)).run(tasks, do, notes)
    assert str(notes.outcomes[0]) == "its worker died"
    assert all(isinstance(notes.outcomes[n], int) for n in (1, 2, 3))
    client.wait_for_workers(2)


@pytest.mark.parametrize(
    ("died", "begun", "alone", "queue"),
    [
        (True, True, True, "given up"),
        (True, True, False, "alone"),
        # The worker was dying before it came there, or nobody could reach it.
        (True, False, True, "alone"),
        (True, False, False, "waiting"),
        (False, True, True, "alone"),
        (False, True, False, "waiting"),
    ],
)
def test_only_what_began_alone_on_a_worker_that_died_is_a_try(died, begun, alone, queue):
    notes = Notes()
    run = _Run(None, Limits(retries=0), [None], do, notes)
    run._waiting.clear()
    run._give_again(_Given(0, "tcp://a:1", "born", alone, begun=begun), died=died)
    assert (queue == "given up") == (0 in notes.outcomes)
    assert (list(run._alone), list(run._waiting)) == ([0] * (queue == "alone"), [0] * (queue == "waiting"))


def test_a_worker_at_the_address_of_one_that_died_does_not_begin_what_that_had(client, tmp_path):
    """Dask would have it done again, and take the next worker with it."""
    address = next(iter(client.nthreads()))
    work = ("topic", "key", "born before", ("die with the worker", tmp_path / "x"), do, Limits())
    client.submit(_do, *work, workers=[address], pure=False).result()
    assert not (tmp_path / "x").exists()


def test_cores_are_divided_on_the_machine_that_computes(client):
    notes = Notes()
    Cluster(client, Limits()).run([None] * 2, Counted(), notes)
    assert notes.outcomes == {0: 2, 1: 2}, "two workers of one thread each on this machine"


def test_no_process_is_left_on_the_workers(client):
    notes = Notes()
    Cluster(client, Limits()).run([("fine", None)] * 3, do, notes)
    assert all(gone(pid) for pid in notes.outcomes.values())


def test_one_slide_with_a_time_limit_has_its_chunks_computed_on_the_cluster(client, slides, alone, tmp_path):
    package, settings = find_model("idc-patch"), Settings(chunk=2)
    result = segment_slides(slides[:1], tmp_path / "a", package, settings, limits=Limits(minutes=5), client=client)
    assert not isinstance(result[slides[0]], Exception), result
    assert contents(result[slides[0]].folder) == contents(alone.folder)
    late = segment_slides(slides[:1], tmp_path / "b", package, settings, limits=Limits(minutes=1e-6), client=client)
    assert "took longer than 1e-06 minutes" in str(late[slides[0]])
