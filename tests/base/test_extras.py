import importlib

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
