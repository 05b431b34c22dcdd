"""Patches are at the scale that their folder states: whoever reads them has it from there."""

import json

import numpy as np
import pytest
from PIL import Image

from wsi_idc.data.assemble import assemble
from wsi_idc.data.audit import audit_folder
from wsi_idc.data.kaggle import index_patches
from wsi_idc.data.scale import RECORD, mpp_of, same_mpp, state_mpp, stated_mpp, unstated
from wsi_idc.errors import DataError
from wsi_idc.slides.slide import Slide

from helpers import write_patches


@pytest.mark.parametrize("mpp", [0.05, 0.2527, 1.0, 4.0, 20.0])
def test_what_is_stated_is_read(tmp_path, mpp):
    assert (stated_mpp(tmp_path), mpp_of(tmp_path)) == (None, 4.0)
    state_mpp(tmp_path, mpp)
    assert stated_mpp(tmp_path) == mpp_of(tmp_path) == mpp
    assert unstated(tmp_path, 1.0, "any") == []


def test_scales_are_one_up_to_their_rounding():
    assert same_mpp(0.2527, 0.25270001)
    assert not same_mpp(0.2527, 0.2535)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"mpp": "4"}', '{"mpp": 0}', '{"mpp": 1e9}', '{"mpp": NaN}'])
def test_a_record_that_states_nothing_is_named(tmp_path, text):
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(DataError, match=r'patches\.json: does not state the scale .*write {"mpp": 4\.0} into it'):
        mpp_of(tmp_path)


def test_only_models_of_another_scale_are_told_of_what_nothing_states(tmp_path):
    assert unstated(tmp_path, 4.0, "any") == []
    (note,) = unstated(tmp_path, 1.0, "fine")
    assert "at the 1 um/px that fine sees, not at the 4 of the public ones" in note


def test_a_section_is_put_together_at_its_scale(tmp_path):
    """It was said to be of 4 um/px always, its areas 16 times too large where it was of 1."""
    data = write_patches(tmp_path / "patches", ["a"])
    for mpp in (None, 1.0, 0.5):
        if mpp:
            state_mpp(data, mpp)
        with Slide(assemble(data, "a", tmp_path / str(mpp))) as slide:
            assert (slide.mpp.x, slide.mpp.y) == pytest.approx((mpp or 4.0, mpp or 4.0))


def test_the_record_is_no_foreign_file(tmp_path):
    data = write_patches(tmp_path / "patches", ["a"])
    state_mpp(data, 1.0)
    assert audit_folder(data).findings["foreign"].count == 0


def test_a_section_may_be_as_many_pixels_as_its_scale_gives(tmp_path):
    folder = tmp_path / "a" / "0"
    folder.mkdir(parents=True)
    for x, y in ((1, 1), (20_001, 20_001)):
        Image.fromarray(np.zeros((50, 50, 3), np.uint8)).save(folder / f"a_idx5_x{x}_y{y}_class0.png")
    with pytest.raises(DataError, match=r"at 4 um/px; where that is not their scale, state it in .*patches\.json"):
        index_patches(tmp_path)
    (tmp_path / RECORD).write_text(json.dumps({"mpp": 1.0}))
    assert len(index_patches(tmp_path)) == 2
