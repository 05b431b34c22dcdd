"""The worksheet in a browser: mark, undo, count, save; and what it says where mitoses cannot be counted."""

import json
import re
import shutil

import numpy as np
import pytest
import shapely
from browser import HARD_TO_USE, Tab, assert_at_home, needs_browser, serving, wait_for
from PIL import Image

import wsi_idc
from wsi_idc.demo.painter import paint_section
from wsi_idc.grading.fields import Wish
from wsi_idc.grading.record import read_record
from wsi_idc.grading.report import write_fields
from wsi_idc.slides.write import write_slide

pytest.importorskip("nicegui")
pytestmark = needs_browser

CORNER = "(b => [b.x, b.y])(document.querySelector('.leaflet-container').getBoundingClientRect())"
TEXT = "(document.body?.innerText ?? '')"
# Where the marks are drawn: a ring of two lines each.
RINGS = "document.querySelectorAll('path[d*=\"a14,14\"]').length / 2"
# How much of what is told at the field and at the grade.
TOLD = "[...document.querySelectorAll('[aria-live], [role=heading]')].map(e => e.textContent).join(' | ')"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A painted section as it were scanned at 0.25 um/px, segmented, with fields of 0.22 mm2."""
    folder = tmp_path_factory.mktemp("graded")
    small = Image.fromarray(paint_section(2.0, 2.0, 4.0, seed=1).pixels)
    pixels = np.asarray(small.resize((small.width * 16, small.height * 16), Image.Resampling.BICUBIC))
    fine = write_slide(folder / "fine.tif", pixels, 0.25)
    run = wsi_idc.segment(fine, folder / "out", threshold=0.02).folder
    # All of it is IDC, says a pathologist, so that there is room for six.
    regions = json.loads((run / "regions.geojson").read_text())
    regions["features"][0]["geometry"] = shapely.geometry.mapping(shapely.box(0, 0, 8000, 8000))
    (run / "regions.geojson").write_text(json.dumps(regions))
    write_fields(run, run / "fields", Wish(number=6, area_mm2=0.22), fine)
    return run, fine


def click(tab, name):
    tab.run(f"[...document.querySelectorAll('button, [role=radio]')].find(b => (b.innerText || "
            f"b.getAttribute('aria-label') || '').startsWith({json.dumps(name)})).click()")  # fmt: skip


def begun(tab):
    wait_for(lambda: "Who judges?" in tab.run(TEXT) and tab.run("window.socket?.connected === true"))
    tab.run("document.querySelector('input').focus(); document.querySelector('input').select()")
    tab._send("Input.insertText", text="ada")
    wait_for(lambda: tab.run("document.querySelector('input').value") == "ada")
    click(tab, "Begin")
    wait_for(lambda: re.search(r"view 1 of \d+ at 40x", tab.run(TEXT)))
    # Until it shows something the map hears no click.
    wait_for(lambda: tab.run("document.querySelectorAll('img.leaflet-tile-loaded').length") > 0)


def test_mark_undo_count_and_save(made, tmp_path):
    run, fine = shutil.copytree(made[0], tmp_path / "run"), made[1]
    with serving(run, "--slide", fine) as address:
        tab = Tab(tmp_path / "profile", f"{address}/of/it/worksheet")
        try:
            begun(tab)
            assert "Observer: ada" in tab.run(TEXT)
            assert tab.run("document.querySelector('.leaflet-bottom').innerText").endswith("· 40x")
            left, top = tab.run(CORNER)
            tab.click((left + 200, top + 200), (left + 300, top + 200), (left + 400, top + 300))
            wait_for(lambda: "3 mitoses" in tab.run(TOLD) and tab.run(RINGS) == 3)
            click(tab, "Undo")
            wait_for(lambda: "2 mitoses" in tab.run(TOLD) and tab.run(RINGS) == 2)
            tab.press(" ")
            wait_for(lambda: "view 2 of" in tab.run(TEXT))
            for number in range(1, 7):
                wait_for(lambda n=number: f"Field {n} of 6: open" in tab.run(TOLD))
                tab.press("c")
            area = 6 * 0.22
            wait_for(lambda: "(6 fields counted)" in tab.run(TOLD))
            assert f"2 in {area:.2f}" in tab.run(TOLD) and "Score 1; of this area, score 1 up to 4" in tab.run(TOLD)
            assert "not scored: tubules, pleomorphism" in tab.run(TOLD)
            click(tab, "2: 10 to 75 %")
            wait_for(lambda: "not scored: pleomorphism" in tab.run(TOLD))
            click(tab, "3: marked variation")
            wait_for(lambda: "Nottingham: 2 + 3 + 1 = 6, grade 2" in tab.run(TOLD))
            assert tab.run(HARD_TO_USE) == []
            click(tab, "Save")
            wait_for(lambda: "Saved as" in tab.run(TOLD))
            assert_at_home(tab, address)
        finally:
            tab.close()
    (folder,) = (p for p in (run / "worksheets" / "ada").iterdir() if p.is_dir())
    record = read_record(folder)
    assert record.observer == "ada" and record.sheet.grade == (6, 2)
    one = record.sheet.of(1)
    # At 40x a pixel of the window is one of the slide: the first view begins at the corner of the field.
    assert [(x - one.x, y - one.y) for x, y in one.marks] == [
        (pytest.approx(200, abs=2), pytest.approx(200, abs=2)),
        (pytest.approx(300, abs=2), pytest.approx(200, abs=2)),
    ]
    assert one.nuclei is not None, "measured when it was looked at"


def test_a_field_is_moved_refused_and_replaced(made, tmp_path):
    run, fine = shutil.copytree(made[0], tmp_path / "run"), made[1]
    with serving(run, "--slide", fine) as address:
        tab = Tab(tmp_path / "profile", f"{address}/of/it/worksheet")
        try:
            begun(tab)
            click(tab, "Refuse (r)")
            wait_for(lambda: "Field 1 of 6: refused" in tab.run(TOLD))
            left, top = tab.run(CORNER)
            wait_for(lambda: tab.click((left + 200, top + 200)) or "Field 1 is refused" in tab.run(TOLD))
            click(tab, "Take back (r)")
            wait_for(lambda: "Field 1 of 6: open" in tab.run(TOLD))
            tab.press("m")
            wait_for(lambda: "Click where the middle" in tab.run(TOLD))
            tab.click((left + 400, top + 300))
            wait_for(lambda: re.search("Field 1 of 6: open, moved|would lie on field", tab.run(TOLD)))
            tab.press("Escape")
            assert_at_home(tab, address)
        finally:
            tab.close()


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1920, True)])
def test_on_a_coarse_slide_it_says_that_mitoses_cannot_be_counted(painted, tmp_path, width, dark):
    run = wsi_idc.segment(painted, tmp_path / "out", threshold=0.02).folder
    write_fields(run, run / "fields", Wish(number=3, area_mm2=0.05), painted)
    with serving(run, "--slide", painted) as address:
        tab = Tab(tmp_path / "profile", f"{address}/of/it/worksheet")
        try:
            tab.look(width, 900, dark)
            begun(tab)
            alert = "[...document.querySelectorAll('[role=alert]')].map(e => e.textContent).join('')"
            assert "Mitoses cannot be counted on this slide: it was scanned at 4 um/px" in tab.run(alert)
            left, top = tab.run(CORNER)
            tab.click((left + 200, top + 200))
            wait_for(lambda: "Mitoses cannot be counted" in tab.run(TOLD))
            assert tab.run(RINGS) == 0
            assert tab.run(HARD_TO_USE) == []
            assert tab.run("document.documentElement.scrollWidth") <= width
            assert_at_home(tab, address)
        finally:
            tab.close()


def test_without_fields_it_says_how_to_choose_them(painted, tmp_path):
    run = wsi_idc.segment(painted, tmp_path / "out").folder
    with serving(run, "--slide", painted) as address:
        tab = Tab(tmp_path / "profile", f"{address}/of/it/worksheet")
        try:
            wait_for(lambda: "Who judges?" in tab.run(TEXT))
            click(tab, "Begin")
            wait_for(lambda: "no fields were chosen yet; run wsi-idc fields" in tab.run(TEXT))
            assert_at_home(tab, address)
        finally:
            tab.close()
