"""The jobs are functions of this module, which the child processes import by name."""

import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from wsi_idc.errors import (
    DataError,
    LostError,
    ModelError,
    OutputError,
    ScaleError,
    SlideError,
    UnknownModelError,
    WsiIdcError,
)
from wsi_idc.runs.executors.executor import Here, Limits, Listener
from wsi_idc.runs.executors.processes import Processes, _portable


@dataclass
class Notes(Listener):
    """What a listener was told."""

    outcomes: dict = field(default_factory=dict)
    events: list = field(default_factory=list)

    def started(self, number):
        self.events.append(("started", number))

    def advanced(self, number, patches):
        self.events.append((patches, number))

    def delayed(self, number, reason):
        self.events.append(("delayed", number))

    def ended(self, number, outcome):
        self.events.append(("ended", number))
        self.outcomes[number] = outcome


class Unportable(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def act(number, task, listener):
    """Do what a task, a verb and a path, says."""
    verb, path = task
    if verb == "die once" and not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if verb == "die":
        with path.open("a") as stream:
            stream.write("x")
        os.kill(os.getpid(), signal.SIGSEGV)
    if verb == "exit":
        os._exit(3)
    if verb == "sleep":
        path.write_text(str(os.getpid()))
        time.sleep(600)
    if verb == "meet":
        # Ends only where another process does the other half at the same time.
        path.touch()
        while not all((path.parent / name).exists() for name in "ab"):
            time.sleep(0.01)
    if verb == "wrong":
        with path.open("a") as stream:
            stream.write("x")
        raise ScaleError("no scale")
    if verb == "odd":
        raise Unportable("one", "two")
    listener.advanced(number, "half way")
    return os.getpid()


def run(tasks, **limits):
    notes = Notes()
    Processes(Limits(**limits)).run(tasks, act, notes)
    return notes


def test_one_process_does_task_after_task_and_a_crash_costs_a_try(tmp_path):
    notes = run([("fine", None), ("die once", tmp_path / "x"), ("fine", None), ("odd", None)])
    first, second, third = (notes.outcomes[n] for n in range(3))
    assert os.getpid() not in (first, second, third)
    assert first != third, "a fresh process after the crash"
    assert second == third, "which goes on with what is left: the others first, the crashed one again at the end"
    # The process goes on with the next before what became of the first is told.
    assert notes.events[:4] == [("started", 0), ("half way", 0), ("started", 1), ("ended", 0)]
    assert [e for e in notes.events if e[1] == 1] == [
        ("started", 1),
        ("delayed", 1),
        ("started", 1),
        ("half way", 1),
        ("ended", 1),
    ]
    assert "Unportable: one and two" in str(notes.outcomes[3])
    assert "raise Unportable" in notes.outcomes[3].__notes__[0]


def test_what_keeps_crashing_is_given_up_with_its_reason_and_an_error_is_not_tried_again(tmp_path):
    notes = run([("wrong", tmp_path / "wrong"), ("die", tmp_path / "die"), ("exit", None)], retries=2)
    assert isinstance(notes.outcomes[0], ScaleError)
    assert str(notes.outcomes[0]) == "no scale"
    assert len((tmp_path / "wrong").read_text()) == 1
    assert str(notes.outcomes[1]) == "its process was killed by signal 11 (SIGSEGV), in each of 3 tries"
    assert len((tmp_path / "die").read_text()) == 3
    assert "exit status 3" in str(notes.outcomes[2])


def test_lack_of_memory_is_named(tmp_path):
    notes = run([("die once", tmp_path / "x")], retries=0)
    assert str(notes.outcomes[0]) == "its process was killed by signal 9 (SIGKILL), maybe for lack of memory"


def test_a_hang_costs_its_time_and_no_other_task(tmp_path):
    notes = run([("sleep", tmp_path / "pid"), ("fine", None)], minutes=0.1)
    assert isinstance(notes.outcomes[0], LostError)
    assert str(notes.outcomes[0]) == "took longer than 0.1 minutes; give more with --time-limit"
    assert isinstance(notes.outcomes[1], int)
    assert gone(int((tmp_path / "pid").read_text()))


def test_several_work_at_once(tmp_path):
    notes = run([("meet", tmp_path / "a"), ("meet", tmp_path / "b")], processes=2, minutes=5)
    assert notes.outcomes[0] != notes.outcomes[1]
    assert all(isinstance(pid, int) for pid in notes.outcomes.values())


def test_what_the_watcher_raises_ends_the_processes(tmp_path):
    class Stops(Notes):
        def ended(self, number, outcome):
            while not (tmp_path / "pid").exists():
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Processes(Limits(processes=2)).run([("sleep", tmp_path / "pid"), ("fine", None)], act, Stops())
    assert gone(int((tmp_path / "pid").read_text()))


def test_children_end_when_their_parent_is_killed(tmp_path):
    pid = tmp_path / "pid"
    code = (
        "from pathlib import Path; from test_processes import *\n"
        f"Processes(Limits()).run([('sleep', Path({str(pid)!r}))], act, Notes())"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parent)
    while not pid.exists() or not pid.read_text():
        assert parent.poll() is None
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    assert gone(int(pid.read_text()))


def test_a_script_without_a_guard_is_told_so_once(tmp_path):
    script = tmp_path / "script.py"
    folder = str(Path(__file__).parent)
    script.write_text(
        f"import sys; sys.path.insert(0, {folder!r})\nfrom test_processes import *\nrun([('fine', None)] * 9)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].startswith("wsi_idc.errors.LostError: no process can be started")
    assert "__main__" in done.stderr


def test_here_all_is_done_in_this_process(tmp_path):
    notes = Notes()
    Here().run([("fine", None), ("wrong", tmp_path / "wrong"), ("fine", None)], act, notes)
    assert notes.outcomes[0] == notes.outcomes[2] == os.getpid()
    assert isinstance(notes.outcomes[1], ScaleError)


@pytest.mark.parametrize(
    "kind", [WsiIdcError, SlideError, ScaleError, ModelError, UnknownModelError, DataError, OutputError, LostError]
)
def test_errors_keep_their_class_and_text(kind):
    error = kind("a.svs: what is wrong")
    assert _portable(error) is error


def test_an_error_keeps_its_class_whatever_it_came_from():
    """Where tblib is loaded, causes are pickled too: one in a circle never ended, and was "not foreseen"."""
    pytest.importorskip("tblib.pickling_support").install()
    first, error = ValueError("first"), SlideError("slide.svs: is damaged")
    first.__context__, error.__cause__ = error, first
    kept = pickle.loads(pickle.dumps(_portable(error)))
    assert type(kept) is SlideError and str(kept) == "slide.svs: is damaged"
    assert "ValueError: first" in kept.__notes__[0]


@pytest.mark.parametrize("wrong", [{"processes": 0}, {"minutes": 0}, {"minutes": float("nan")}, {"retries": -1}])
def test_limits_that_cannot_be_meant(wrong):
    with pytest.raises(ValueError, match="at least one process"):
        Limits(**wrong)


def gone(pid, seconds=10):
    """Wait until a process is no more, or only a zombie that nobody asks for."""
    for _ in range(int(seconds / 0.05)):
        try:
            if (Path("/proc") / str(pid) / "stat").read_text().split()[2] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False
