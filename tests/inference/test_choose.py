import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from filelock import FileLock

from wsi_idc.errors import ModelError
from wsi_idc.inference import choose as autotune
from wsi_idc.models.registry import find_model

from helpers import numpy_package, write_unchecked_package


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Where rates are kept; of the engines those that ship with the core and with [train]."""
    monkeypatch.setattr(autotune, "ENGINES", {name: autotune.ENGINES[name] for name in ("onnx", "keras")})
    monkeypatch.setattr(autotune.platformdirs, "user_cache_dir", lambda *a, **k: str(tmp_path))
    monkeypatch.setattr(autotune, "_measured_here", {})
    return tmp_path / "engines.json"


def rates(monkeypatch, **by_engine):
    calls = []

    def measure(package, name):
        calls.append(name)
        start, rate = by_engine[name]
        return {"start_s": start, "patches_per_s": rate}

    monkeypatch.setattr(autotune, "_measure_apart", measure)
    return calls


def test_a_short_job_never_waits_for_keras(cache, monkeypatch):
    calls = rates(monkeypatch, onnx=(0.1, 1000), keras=(4, 1e6))
    assert autotune.choose_engine("auto", find_model(), autotune.WORTH_MEASURING - 1) == "onnx"
    assert calls == []
    assert not cache.exists()


@pytest.mark.parametrize(
    ("keras_rate", "patches", "choice"),
    [(500, 10**6, "onnx"), (1001, 10**5, "onnx"), (1100, 10**5, "keras"), (20_000, 10**5, "keras")],
)
def test_a_long_job_takes_what_is_done_first_start_included(cache, monkeypatch, keras_rate, patches, choice):
    # ONNX Runtime: 0.1 + n / 1000 s; Keras: 4 + n / rate s.
    calls = rates(monkeypatch, onnx=(0.1, 1000), keras=(4, keras_rate))
    assert autotune.choose_engine("auto", find_model(), patches) == choice
    assert autotune.choose_engine("auto", find_model(), patches) == choice
    assert calls == ["onnx", "keras"], "measured once, then kept"


def test_of_the_engines_that_agree_the_first_to_end_is_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(autotune.platformdirs, "user_cache_dir", lambda *a, **k: str(tmp_path))
    monkeypatch.setattr(autotune, "_measured_here", {})
    found = {"onnx": (0.1, 1000), "keras": (4, 900), "openvino": (1, 1500)}
    calls = rates(monkeypatch, **found)
    assert autotune.choose_engine("auto", find_model(), 10**6) == "openvino"
    assert calls == list(found)
    assert autotune.choose_engine("auto", find_model(), 500) == "onnx"


def test_a_damaged_cache_is_measured_again(cache, monkeypatch):
    cache.write_text("{")
    rates(monkeypatch, onnx=(0.1, 1000), keras=(4, 20_000))
    assert autotune.choose_engine("auto", find_model(), 10**6) == "keras"
    assert json.loads(cache.read_text())


def test_measuring_for_real(cache, capfd):
    package = find_model("idc-patch")
    assert autotune.choose_engine("auto", package, 10**6) in ("onnx", "keras")
    ((found),) = json.loads(cache.read_text()).values()
    assert set(found) == {"onnx", "keras"}
    for rates in found.values():
        assert rates["patches_per_s"] > 1
        assert rates["start_s"] > 0
    assert capfd.readouterr() == ("", ""), "TensorFlow says a lot when it is loaded"


@pytest.mark.parametrize(("broken", "choice"), [(["keras"], "onnx"), (["onnx"], "keras"), (["onnx", "keras"], "onnx")])
def test_an_engine_that_takes_its_process_down_is_not_chosen(cache, monkeypatch, broken, choice):
    """As TensorFlow does on a processor without AVX. It is not tried again for each slide, but some day it may work."""
    died = f'import os, sys\nif sys.argv[2] in {broken}: os.abort()\nprint(\'{{"start_s": 1, "patches_per_s": 9}}\')'
    monkeypatch.setattr(autotune, "_MEASURE", died)
    assert autotune.choose_engine("auto", find_model(), 10**6) == choice
    calls = rates(monkeypatch, onnx=(0.1, 1000), keras=(4, 1000))
    assert autotune.choose_engine("auto", find_model(), 10**6) == choice
    assert calls == []
    monkeypatch.setattr(autotune, "_TRY_AGAIN_S", -1)
    autotune.choose_engine("auto", find_model(), 10**6)
    assert sorted(calls) == sorted(broken)


def test_an_engine_that_hangs_is_given_up(cache, monkeypatch):
    hangs = (
        'import sys, time\nif sys.argv[2] == "keras": time.sleep(600)\nprint(\'{"start_s": 1, "patches_per_s": 9}\')'
    )
    monkeypatch.setattr(autotune, "_MEASURE", hangs)
    monkeypatch.setattr(autotune, "_LIMIT_S", 8)
    assert autotune.choose_engine("auto", find_model(), 10**6) == "onnx"
    (found,) = json.loads(cache.read_text()).values()
    assert set(found["keras"]) == {"failed_at"}


def test_processes_that_begin_together_measure_once(cache, monkeypatch):
    """Threads stand for them: each finds an empty cache, and one measures while the others wait for what it finds."""
    calls, at_once = [], []

    def measure(package, name):
        at_once.append(name)
        calls.append((name, len(at_once)))
        time.sleep(0.05)
        at_once.pop()
        return {"start_s": 1.0, "patches_per_s": {"onnx": 10.0, "keras": 20.0}[name]}

    monkeypatch.setattr(autotune, "_measure_apart", measure)
    together = threading.Barrier(4)

    def choose(_):
        together.wait()
        return autotune.choose_engine("auto", find_model(), 10**6)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(choose, range(4))) == ["keras"] * 4
    assert calls == [("onnx", 1), ("keras", 1)]


def test_where_the_cache_cannot_be_written_each_process_measures_once(tmp_path, cache, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(autotune.platformdirs, "user_cache_dir", lambda *a, **k: str(tmp_path / "file" / "in"))
    calls = rates(monkeypatch, onnx=(0.1, 1000), keras=(4, 20_000))
    assert [autotune.choose_engine("auto", find_model(), 10**6) for _ in range(2)] == ["keras"] * 2
    assert calls == ["onnx", "keras"]


def test_who_keeps_the_cache_for_ever_keeps_nobody_from_computing(cache, monkeypatch):
    calls = rates(monkeypatch, onnx=(0.1, 1000), keras=(4, 20_000))
    monkeypatch.setattr(autotune, "_LIMIT_S", 0.01)
    with FileLock(cache.with_suffix(".lock")):
        assert autotune.choose_engine("auto", find_model(), 10**6) == "onnx"
    assert calls == []


def test_a_damaged_entry_of_the_cache_is_measured_again(cache, monkeypatch):
    calls = rates(monkeypatch, onnx=(0.1, 1000), keras=(4, 20_000))
    autotune.choose_engine("auto", find_model(), 10**6)
    known = json.loads(cache.read_text())
    for damage in ([], {key: {"onnx": 3} for key in known}):
        autotune._measured_here.clear()
        cache.write_text(json.dumps(damage))
        calls.clear()
        assert autotune.choose_engine("auto", find_model(), 10**6) == "keras"
        assert calls == ["onnx", "keras"]


def test_a_network_of_another_form_is_refused_before_it_computes(tmp_path):
    """Two classes where one logit belongs, or another patch size: wrong numbers otherwise, without a word."""
    import keras

    def network(outputs, side):
        inputs = keras.Input((side, side, 3), dtype="uint8")
        x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
        return keras.Model(inputs, keras.layers.Dense(outputs)(x))

    autotune.make_engine("keras", write_unchecked_package(tmp_path / "good", network(1, 50)))
    with pytest.raises(ModelError, match=r"gives \(1, 2\) for one patch, not \(n, 1\)"):
        autotune.make_engine("keras", write_unchecked_package(tmp_path / "two", network(2, 50)))
    with pytest.raises(ModelError, match="cannot run its weights"):
        autotune.make_engine("keras", write_unchecked_package(tmp_path / "size", network(1, 64)))


def test_an_engine_without_weights_or_of_no_name():
    with pytest.raises(ModelError, match="no onnx weights"):
        autotune.make_engine("onnx", numpy_package())
    with pytest.raises(ModelError, match="known: auto, onnx, keras"):
        autotune.make_engine("abacus", find_model())
