import pytest

from wsi_idc.demo import run_demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return run_demo(tmp_path_factory.mktemp("demo"))


def test_regions_lie_on_the_painted_tumour(demo):
    found = {name: share for name, (share, _) in demo.found.items()}
    assert found["tumour"] > 0.75
    assert found["ink"] == 0
    edges = {name: share for name, share in found.items() if name not in ("tumour", "ink")}
    assert max(edges.values()) < 0.02, "only patches at the edge of the tumour, mostly of another class"


def test_what_the_summary_says_of_it(demo):
    summary = demo.outcome.summary
    assert summary["slide"]["mpp"]["x"] == pytest.approx(2.0)
    assert len(summary["slide"]["levels"]) == 3
    assert summary["ink_mm2"] > 0.1
    assert summary["out_of_focus_share"] < 0.05
    assert 0.1 < summary["idc_share"] < 0.4
    assert not summary["warnings"]


def test_the_same_section_again_gives_the_same_bytes(demo, tmp_path):
    again = run_demo(tmp_path)
    assert again.slide.read_bytes() == demo.slide.read_bytes()
    assert again.outcome.regions.read_bytes() == demo.outcome.regions.read_bytes()
    assert again.outcome.overview.read_bytes() == demo.outcome.overview.read_bytes()
