import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from wsi_idc.base.grid import Grid
from wsi_idc.demo.demo import run_demo
from wsi_idc.demo.painter import CLASSES, paint_section
from wsi_idc.errors import OutputError
from wsi_idc.heatmap.store import read_heatmap
from wsi_idc.models.registry import find_model


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return run_demo(tmp_path_factory.mktemp("demo"), seed=0)


def test_regions_lie_on_the_painted_tumour(demo):
    found = {name: share for name, (share, _) in demo.found.items()}
    # Two painted lumps of a patch or two are missed.
    assert found["tumour"] > 0.9
    assert found["ink"] == found["duct"] == 0


def test_nothing_is_found_beside_the_painted_tumour(demo):
    """Outlines take in a rim, as the pathologist's did that the model learnt from, but no more than the next patch."""
    section = paint_section(seed=0)
    model = find_model()
    grid = Grid(section.labels.shape[::-1], (section.mpp, section.mpp), model.patch_size, model.mpp)
    tumour = grid.share(section.labels == CLASSES.index("tumour"), section.mpp) > 0
    heatmap, _ = read_heatmap(demo.outcome.heatmap)
    idc = np.nan_to_num(heatmap) >= demo.outcome.summary["parameters"]["threshold"]
    assert not (idc & ~binary_dilation(tumour, np.ones((3, 3)))).any()
    assert (idc & ~tumour).sum() < 0.1 * idc.sum()


def test_what_the_summary_says_of_it(demo):
    summary = demo.outcome.summary
    assert summary["slide"]["mpp"]["x"] == pytest.approx(2.0)
    assert len(summary["slide"]["levels"]) == 3
    assert summary["ink_mm2"] > 0.1
    assert summary["out_of_focus_share"] < 0.05
    assert 0.1 < summary["idc_share"] < 0.4
    # Painted tissue is not what the model was trained on, and the tool says so.
    (warning,) = summary["warnings"]
    assert warning.startswith("unlike the slides that the model was trained on")
    assert summary["familiarity"]["features"] > 97


def test_the_same_section_again_gives_the_same_bytes(demo, tmp_path):
    again = run_demo(tmp_path, seed=0)
    assert again.slide.read_bytes() == demo.slide.read_bytes()
    assert again.outcome.regions.read_bytes() == demo.outcome.regions.read_bytes()
    assert again.outcome.overview.read_bytes() == demo.outcome.overview.read_bytes()


def test_a_slide_of_that_name_is_kept(tmp_path):
    (tmp_path / "painted-3.tif").write_bytes(b"another slide")
    with pytest.raises(OutputError, match=r"painted-3\.tif: another file is there; choose another -o"):
        run_demo(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["painted-3.tif"]
    assert (tmp_path / "painted-3.tif").read_bytes() == b"another slide"
