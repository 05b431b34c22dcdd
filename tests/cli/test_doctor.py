"""`wsi-idc doctor`: what is tried is told, and what does not work is a fault."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from wsi_idc.api import doctor
from wsi_idc.cli.group import main
from wsi_idc.inference.engines import OnnxEngine


@pytest.fixture
def quick(monkeypatch):
    """Leave out the engine that takes half a minute to load."""
    none = SimpleNamespace(needs="no_such_package")
    monkeypatch.setattr(doctor, "ENGINES", {"onnx": OnnxEngine, "none": none})


def ask(*arguments):
    done = CliRunner().invoke(main, ["doctor", "--json", *map(str, arguments)])
    assert done.exit_code in (0, 1), done.output
    said = json.loads(done.stdout)
    assert said["ok"] == (done.exit_code == 0)
    return said["ok"], {(f["group"], f["name"]): f for f in said["findings"]}


def test_engines_readers_models_and_places_are_tried(quick, tmp_path):
    _, found = ask(tmp_path / "not" / "yet")
    assert found["engines", "onnx"]["state"] == "ok" and found["engines", "none"]["state"] == "missing"
    assert found["models", "idc-context"]["state"] == "ok"
    readers = {name: f["state"] for (group, name), f in found.items() if group == "readers"}
    assert set(readers.values()) == {"ok"} and len(readers) >= 10
    assert str(tmp_path) in found["places", "output"]["detail"] and not list(tmp_path.iterdir())


def test_what_is_too_old_or_lost_is_a_fault(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(
        doctor.importlib.metadata, "requires", lambda name: ["numpy>=99", "nothing-of-this-name>=1; extra == 'view'"]
    )
    monkeypatch.setattr(doctor, "_CODECS", {"unheard of": "unheard"})
    ok, found = ask(tmp_path)
    assert not ok
    assert found["packages", "core"]["state"] == "fault" and "numpy" in found["packages", "core"]["detail"]
    assert found["packages", "[view]"]["state"] == "missing"
    assert 'pip install ".[view]"' in found["packages", "[view]"]["detail"]
    assert found["readers", "TIFF, unheard of"]["state"] == "missing"


def test_an_engine_that_takes_its_process_down_is_a_fault(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "_TRY_ENGINE", "import os; os.abort()")
    ok, found = ask(tmp_path)
    assert not ok and found["engines", "onnx"]["state"] == "fault"


def test_a_disk_without_locks_or_room_is_a_fault(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "is_held", lambda folder: False)
    ok, found = ask(tmp_path)
    assert not ok and "locks do not hold" in found["places", "output"]["detail"]
    monkeypatch.undo()
    monkeypatch.setattr(doctor, "_ROOM", 1e30)
    assert "too little" in doctor._disk("output", tmp_path).detail


def test_words_for_people(quick, tmp_path):
    done = CliRunner().invoke(main, ["doctor", str(tmp_path)])
    assert "\nreaders\n" in done.output and "  ok       onnx: " in done.output
