import shutil

import numpy as np
import pytest

import wsi_idc
from wsi_idc.errors import DataError, OutputError, SlideError
from wsi_idc.slides.write import write_slide
from wsi_idc.viewer.opened import OpenedRun
from wsi_idc.viewer.shelf import ALONE, Shelf


@pytest.fixture(scope="module")
def output(painted, tmp_path_factory):
    """An output folder of four slides, of which one is no slide and three are of the same pixels."""
    slides = tmp_path_factory.mktemp("slides")
    paths = [shutil.copy(painted, slides / f"{name}.tif") for name in ("one", "two", "three")]
    (slides / "broken.tif").write_bytes(b"II*\0 no slide")
    folder = tmp_path_factory.mktemp("many")
    wsi_idc.segment_slides([*paths, slides / "broken.tif"], folder)
    return folder


def key(shelf, name):
    return next(key for key, row in shelf.rows().items() if str(row["slide"]).endswith(f"{name}.tif"))


def test_a_slide_without_a_run_is_shown_by_itself(painted, tmp_path):
    shelf = Shelf(painted)
    with shelf.using(ALONE) as found:
        assert not isinstance(found, OpenedRun)
        assert found.tile(0, 0, 0).startswith(b"\xff\xd8") and found.facts()["heat"] is None
    assert shelf.file(ALONE, "report.html") is None
    shelf.close()
    with pytest.raises(SlideError, match="nothing: no such file"):
        Shelf(tmp_path / "nothing")
    plain = write_slide(tmp_path / "plain.tif", np.full((300, 400, 3), 200, np.uint8), 4.0)
    with Shelf(plain, mpp=2.0).using(ALONE) as found:
        assert found.slide.mpp.x == 2.0


def test_an_output_folder_opens_each_of_its_slides(output):
    shelf = Shelf(output)
    page = shelf.page()
    assert len(shelf.rows()) == 4 and all(k in page for k in shelf.rows())
    with shelf.using(key(shelf, "two")) as found:
        assert isinstance(found, OpenedRun) and found.slide.name == "two.tif"
    assert shelf.file(key(shelf, "one"), "report.html").parent == output / "one"
    for name in ("../manifest.csv", ".lock", "heatmap.zarr"):
        assert shelf.file(key(shelf, "one"), name) is None
    with pytest.raises(DataError, match=r"broken: has no results of .*broken\.tif: it is failed \(.*\)"):  # noqa: SIM117
        with shelf.using(key(shelf, "broken")):
            pass
    with pytest.raises(DataError, match="holds no such slide"):
        shelf.file("another", "report.html")
    shelf.close()


def test_a_few_slides_stay_open_and_what_is_used_is_never_closed(output, monkeypatch):
    monkeypatch.setattr("wsi_idc.viewer.shelf._OPEN", 1)
    shelf = Shelf(output)
    with shelf.using(key(shelf, "one")) as one:
        for name in ("two", "three"):
            with shelf.using(key(shelf, name)):
                pass
        assert one.tile(one.levels, 0, 0).startswith(b"\xff\xd8")
    assert len(shelf._open) == 1
    shelf.close()


def test_a_slide_gone_or_another_is_refused_with_both_names(output, tmp_path):
    moved = shutil.copytree(output, tmp_path / "moved")
    text = (moved / "manifest.csv").read_text()
    (moved / "manifest.csv").write_text(text.replace("one.tif", "gone.tif"))
    shelf = Shelf(moved)
    with pytest.raises(SlideError, match=r"one: its slide one\.tif is neither"), shelf.using(key(shelf, "gone")):
        pass
    with pytest.raises(SlideError, match=r"one: its slide one\.tif is neither"):
        Shelf(moved / "one")
    other = write_slide(tmp_path / "other.tif", np.full((300, 400, 3), 200, np.uint8), 4.0)
    with pytest.raises(SlideError, match=r"other\.tif: is not the slide that .*one was made from"):
        Shelf(output / "one", slide=other)


def test_what_is_neither_is_refused(tmp_path):
    with pytest.raises(SlideError, match=r"without DICOM files .*is not a slide"):
        Shelf(tmp_path)
    (tmp_path / "manifest.csv").write_text("no manifest\n")
    with pytest.raises(OutputError, match="is not a manifest"):
        Shelf(tmp_path)
