import importlib
import os
import sys

import pytest

from wsi_idc.base.extras import needs_extra
from wsi_idc.errors import MissingExtraError


def test_a_missing_package_is_named_with_the_extra_that_brings_it():
    with pytest.raises(MissingExtraError) as caught, needs_extra("tables"):
        importlib.import_module("nowhere_at_all")
    assert str(caught.value) == (
        'this needs nowhere_at_all, which is not installed; in the folder of wsi-idc\'s source: pip install ".[tables]"'
    )
    assert isinstance(caught.value, ImportError)


def test_a_package_that_is_there_but_cannot_be_loaded_says_why():
    with pytest.raises(MissingExtraError) as caught, needs_extra("tables"):
        raise ImportError("Missing optional dependency 'pyarrow'.\nUse pip or conda.")
    assert str(caught.value).startswith("this needs more (Missing optional dependency 'pyarrow'.); in the folder")


def test_a_fault_of_the_library_is_not_taken_for_a_missing_package():
    with pytest.raises(ImportError) as caught, needs_extra("train"):
        importlib.import_module("wsi_idc.no_such_module")
    assert not isinstance(caught.value, MissingExtraError)


def test_what_tensorflow_says_of_itself_is_not_shown_and_all_else_is(capfd, monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    said = [
        "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
        "I0000 00:00:1795859811.039677   26558 port.cc:153] oneDNN custom operations are on.",
        "E0000 00:00:1795859833.309596   26558 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error",
        "Killed for a reason of its own",
    ]
    with pytest.raises(MissingExtraError), needs_extra("train"):
        os.write(2, ("\n".join(said) + "\n").encode())
        raise ImportError("what cannot be loaded")
    assert capfd.readouterr().err == f"{said[-1]}\n"
    os.write(2, said[0].encode())
    assert capfd.readouterr().err == said[0], "and only while it is imported"
