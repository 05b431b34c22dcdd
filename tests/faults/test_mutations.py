"""Damaged files of every kind that is read, to Python and to the commands: an error of this tool, or they are read.

`benchmarks/mutations.py` is the long form, of thousands for each kind.
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from mutated import make_inputs
from mutations import try_input

EACH = 6


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return make_inputs(tmp_path_factory.mktemp("mutated") / "all")


def test_what_is_damaged_is_refused_or_read(inputs):
    faults = []
    for one in inputs:
        found = try_input(one, range(EACH), seed=1)
        faults += [f"{one.name}: {kind}, as {found.examples[kind]}" for kind in found.tracebacks]
        faults += [f"{one.name}: {found.slow} took longer than 10 s"] * bool(found.slow)
    assert faults == []


def test_what_is_whole_is_read(inputs):
    """Else nothing would be learnt from what is damaged."""
    for one in inputs:
        one.read()
