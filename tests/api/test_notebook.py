"""What a notebook draws of a run."""

from __future__ import annotations

import shutil

import pytest

import wsi_idc
from wsi_idc.errors import DataError
from wsi_idc.slides.write import write_slide


@pytest.fixture(scope="module")
def result(section, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shown")
    slide = write_slide(folder / "a&b.tif", section.pixels, section.mpp)
    return wsi_idc.segment(slide, folder / "out")


def test_a_result_or_its_folder_is_drawn_with_its_conclusion(result):
    for given in (result, result.folder, str(result.folder)):
        shown = wsi_idc.show(given)
        assert shown._repr_png_() == result.overview.read_bytes()
        drawn = shown._repr_html_()
        # Base64 may spell out http, but has no colon.
        assert drawn.count("data:image/png;base64,") == 1 and "://" not in drawn
        assert "a&amp;b.tif" in drawn and "IDC was found: " in drawn and "research use only" in drawn
        assert repr(shown).startswith("a&b.tif: IDC was found: ")
        assert repr(shown).count(". ") >= 2  # and what limits it


def test_ipython_takes_it_for_a_picture(result):
    formatters = pytest.importorskip("IPython.core.formatters")
    data, _ = formatters.DisplayFormatter().format(wsi_idc.show(result))
    assert {"text/html", "image/png", "text/plain"} <= set(data)


def test_what_is_no_run_is_refused(result, tmp_path):
    with pytest.raises(DataError, match=r"no summary\.json"):
        wsi_idc.show(tmp_path)
    run = shutil.copytree(result.folder, tmp_path / "run")
    (run / "overview.png").unlink()
    with pytest.raises(DataError, match=r"its overview\.png cannot be read"):
        wsi_idc.show(run)
