"""What becomes of memory that is freed, and how many threads BLAS takes, seen in processes of their own."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

# Large arrays with small ones between them, which keep the heap from shrinking when only the large ones go.
HOLD_AND_DROP = """
import json, os, sys
from wsi_idc.runs.memory import be_lean, give_back
if sys.argv[1] == "lean":
    be_lean()
import numpy as np
np.ones(7_000_000, np.uint8)
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
before = resident()
arrays = [(np.ones(6_000_000, np.uint8), np.ones(50_000, np.uint8)) for _ in range(20)]
small = [pair[1] for pair in arrays]
del arrays
if sys.argv[1] == "given back":
    give_back()
print(json.dumps([resident() - before, os.environ.get("OPENBLAS_NUM_THREADS")]))
"""


def outcome(how: str, **environment: str) -> tuple[float, str | None]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "OPENBLAS_"))}
    done = subprocess.run(
        [sys.executable, "-c", HOLD_AND_DROP, how],
        cwd=Path(__file__).parent,
        env=clean | environment,
        check=True,
        capture_output=True,
        text=True,
    )
    held, threads = json.loads(done.stdout)
    return held, threads


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is set for glibc only")
def test_memory_goes_back_to_the_system():
    held, _ = outcome("as it is")
    assert held > 100  # MiB, of 114
    for how in ("lean", "given back"):
        assert outcome(how)[0] < 20


def test_blas_computes_in_one_thread_unless_told_otherwise():
    if not Path("/proc/self/statm").exists():
        pytest.skip("reads /proc")
    assert outcome("lean")[1] == "1"
    assert outcome("lean", OPENBLAS_NUM_THREADS="3")[1] == "3"
    assert outcome("as it is")[1] is None


def test_nothing_is_left_for_the_collector_to_look_at_on_the_way_out():
    # What is registered first is called last.
    seen = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 1000))"
    lean = "from wsi_idc.runs.memory import be_lean; be_lean()"
    for code, frozen in ((seen, "False"), (f"{seen}; {lean}", "True")):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=Path(__file__).parent, check=True, capture_output=True, text=True
        )
        assert done.stdout.strip() == frozen


COME_AND_GO = """
import json, os, resource, sys
from contextlib import nullcontext
from wsi_idc.runs.memory import keeping
import numpy as np
def made():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
before, held = made(), resident()
with keeping() if sys.argv[1] == "kept" else nullcontext():
    for _ in range(20):
        np.ones(50_000_000, np.uint8)
print(json.dumps([made() - before, resident() - held]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is set for glibc only")
def test_large_arrays_that_come_and_go_are_made_of_the_same_pages():
    def pages(how):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
        command = [sys.executable, "-c", COME_AND_GO, how]
        cwd = Path(__file__).parent
        done = subprocess.run(command, cwd=cwd, env=clean, check=True, capture_output=True, text=True)
        return json.loads(done.stdout)

    made, held = pages("kept")
    assert made < pages("as it is")[0] / 5
    assert held < 20, "MiB; all of it goes back at the end"


UNUSED = """
import sys
from wsi_idc.runs.memory import be_lean
be_lean()
be_lean()
import wsi_idc.runs.run
unused = ("numpy.f2py.", "numpy.polynomial.", "numpy.testing.", "scipy.special.")
assert not [name for name in sys.modules if name.startswith(unused)]
import numpy
from scipy.special import expit
numpy.testing.assert_array_equal(expit(0.0), 0.5)
numpy.testing.assert_array_equal(numpy.polynomial.Polynomial([1, 2])(3), 7)
"""


def test_what_a_run_does_not_use_is_loaded_when_something_uses_it():
    subprocess.run([sys.executable, "-c", UNUSED], check=True)
