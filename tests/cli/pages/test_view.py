"""The viewer as a process of its own, asked as a browser asks it, and by a browser where there is one."""

import json
import re
import shutil
import subprocess
import sys
import urllib.request

import pytest
import shapely
from browser import HARD_TO_USE, Tab, assert_at_home, needs_browser, serving, status, wait_for

import wsi_idc
from wsi_idc.annotations.read import read_annotations
from wsi_idc.runs.results.folder import read_summary
from wsi_idc.runs.results.words import limits
from wsi_idc.viewer.shelf import opened

pytest.importorskip("nicegui")


@pytest.fixture(scope="module")
def run(painted, tmp_path_factory):
    return wsi_idc.segment(painted, tmp_path_factory.mktemp("view")).folder


@pytest.fixture(scope="module")
def address(run):
    with serving(run) as there:
        yield there


# Whether a click on the map draws.
DRAWS = "document.querySelector('.leaflet-container').style.cursor === 'crosshair'"
# How many pixels of the outlines are red.
RED = """(() => {
  const canvas = document.querySelector("canvas");
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let count = 0;
  for (let i = 0; i < data.length; i += 4) if (data[i] > 150 && data[i + 1] < 60 && data[i + 3] > 150) count += 1;
  return count;
})()"""


def test_it_answers_what_there_is_and_refuses_what_there_is_not(run, address):
    with urllib.request.urlopen(f"{address}/of/it/tile/0/0/0") as answer:
        assert answer.headers["Content-Type"] == "image/jpeg" and answer.read(2) == b"\xff\xd8"
    with urllib.request.urlopen(f"{address}/of/it/regions?threshold=0.5") as answer, opened(run) as found:
        assert json.load(answer)["numbers"] == found.regions(0.5)["numbers"]
    assert status(f"{address}/of/it/tile/0/9/9") == 404
    assert status(f"{address}/of/it/tile/99/0/0") == 404
    assert status(f"{address}/of/it/regions?threshold=2") == 422
    assert status(f"{address}/of/it/regions?threshold=nan") == 422
    # A page of another site that made its own name lead here.
    assert status(f"{address}/of/it/heat", Host="evil.example") == 400


def test_what_limits_a_run_stands_beside_its_conclusion(run, address):
    told = limits(read_summary(run))
    assert len(told) > 1
    for page in ("", "/of/it/worksheet"):
        with urllib.request.urlopen(f"{address}{page}") as answer:
            text = answer.read().decode()
        assert f"What limits it: {told[0]} And {len(told) - 1} more." in text
        assert all(limit in text for limit in told)


def test_without_the_extra_it_is_said_how_to_get_it(run):
    code = "import sys; sys.modules['nicegui'] = None; from wsi_idc.cli.group import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "view", str(run)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"error: this needs .*: pip install \"\.\[view\]\"\n", done.stderr), done.stderr


@pytest.mark.parametrize("command", ["view", "serve"])
def test_a_port_that_is_taken_is_refused(run, address, tmp_path, command):
    """Else the address that it says shows what another one serves."""
    what = ["view", str(run)] if command == "view" else ["serve", "--data", str(tmp_path / "served")]
    port = address.rpartition(":")[2]
    arguments = [sys.executable, "-m", "wsi_idc", *what, "--port", port, "--no-open"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1 and done.stdout == ""
    assert re.fullmatch(rf"error: port {port} of 127\.0\.0\.1 cannot be listened at \(.*\); .* --port\n", done.stderr)


@needs_browser
def test_moving_the_threshold_redraws_the_regions_and_their_area(run, address, tmp_path):
    tab = Tab(tmp_path, address)
    try:
        numbers = "document.querySelector('[aria-live]')?.textContent ?? ''"
        wait_for(lambda: "IDC" in tab.run(numbers))
        with opened(run) as found:
            own = found.outlining.peak
            assert tab.run(numbers).startswith(f"At {own:.2f}: IDC {found.regions(own)['numbers']['idc_mm2']:.2f} mm²")
            tab.run("document.querySelector('.q-slider [tabindex]').focus()")
            before = tab.run(RED)
            assert before > 100
            for _ in range(5):
                tab.press("ArrowRight")
            wait_for(lambda: not tab.run(numbers).startswith(f"At {own:.2f}"))
            wait_for(lambda: "foc" in (said := tab.run(numbers)) and _is_true(said, found))
            assert tab.run("performance.getEntriesByName('redraw').length") > 0
            assert tab.run(RED) != before
        assert any("/of/it/tile/" in r for r in tab.requests)
        assert_at_home(tab, address)
    finally:
        tab.close()


@needs_browser
def test_keys_measure_and_change_what_is_shown(run, address, tmp_path):
    tab = Tab(tmp_path, address)
    try:
        told = "[...document.querySelectorAll('[aria-live]')].map(e => e.textContent).join(' | ')"
        wait_for(lambda: "foc" in tab.run(told))
        with opened(run) as found:
            um = found.slide.mpp.x
            box = tab.run("(b => [b.x, b.y])(document.querySelector('.leaflet-container').getBoundingClientRect())")
            tab.press("1")
            scale = "document.querySelector('.leaflet-bottom').innerText"
            wait_for(lambda: tab.run(scale).endswith(" 1.3x"))
            tab.press("m")
            x, y = box[0] + 300, box[1] + 300
            wait_for(lambda: "Click the places" in tab.run(told) and tab.run(DRAWS))
            tab.click((x, y), (x + 100, y), (x + 100, y + 100))
            tab.press("Enter")
            # At 1.25x a pixel of the screen is 8 um wide, at the nearest half step of the map somewhat less or more.
            wait_for(lambda: "closed" in tab.run(told))
            length, area = re.search(r"Measured: ([\d.]+) mm; closed, ([\d.]+) mm²", tab.run(told)).groups()
            side = float(length) / 2
            assert 0.55 < side < 1.15 and float(area) == pytest.approx(side**2 / 2, rel=0.01) and um == 4.0
            tab.press("Escape")
            wait_for(lambda: "Measured" not in tab.run(told))
            tab.press("h")
            wait_for(lambda: float(tab.run("document.querySelector('.leaflet-image-layer').style.opacity")) == 0.5)
            tab.press("[")
            wait_for(lambda: f"At {found.outlining.peak - 0.01:.2f}" in tab.run(told))
        assert_at_home(tab, address)
    finally:
        tab.close()


@needs_browser
def test_regions_are_edited_with_a_hole_undone_and_saved(run, painted, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    with serving(copy, "--slide", painted) as address:
        tab, second = Tab(tmp_path / "profile", address), None
        try:
            told = "[...document.querySelectorAll('[aria-live]')].map(e => e.textContent).join(' | ')"
            wait_for(lambda: "foc" in (tab.run(told) or ""))
            with opened(copy, painted) as found:
                (largest, *_), whole = found.regions(found.outlining.peak)["regions"], found.size
                across = found.facts()["heat"][0]
            middle = shapely.point_on_surface(shapely.Polygon(largest["rings"][0], largest["rings"][1:]))
            tab.press("E")
            wait_for(lambda: "as saved" in tab.run(told))
            before = float(re.search(r"IDC ([\d.]+) mm²", tab.run(told))[1])
            # Where the slide, wholly in view, shows the middle of the region.
            box = "document.querySelector('.leaflet-container').getBoundingClientRect()"
            left, top, width, height = tab.run(f"(b => [b.x, b.y, b.width, b.height])({box})")
            scale = float(tab.run("document.querySelector('.leaflet-image-layer').width")) / across
            x = left + width / 2 + (middle.x - whole[0] / 2) * scale
            y = top + height / 2 + (middle.y - whole[1] / 2) * scale
            tab.press("c")
            wait_for(lambda: "taken out" in tab.run(told) and tab.run(DRAWS))
            tab.click((x - 40, y - 40), (x + 40, y - 40), (x + 40, y + 40), (x - 40, y + 40))
            tab.press("Enter")
            wait_for(lambda: "not saved" in tab.run(told))
            after = float(re.search(r"IDC ([\d.]+) mm²", tab.run(told))[1])
            assert after < before
            tab.press("v")
            tab.click((x + 60, y))
            tab.run("[...document.querySelectorAll('button')].find(b => b.innerText.startsWith('Undo')).click()")
            wait_for(lambda: f"IDC {before:.2f} mm²" in tab.run(told))
            tab.run("[...document.querySelectorAll('button')].find(b => b.innerText.startsWith('Redo')).click()")
            wait_for(lambda: f"IDC {after:.2f} mm²" in tab.run(told))
            tab.run("[...document.querySelectorAll('button')].find(b => b.innerText.startsWith('Save')).click()")
            wait_for(lambda: "Saved as" in tab.run(told))
            saved = read_annotations(copy / "regions-edited.geojson").annotations
            assert sum(a.measurements["Area mm2"] for a in saved) == pytest.approx(after, abs=0.006)
            assert wsi_idc.compare(copy, copy / "regions-edited.geojson")["slides"][0]["dice"] < 1
            second = Tab(tmp_path / "second", address)
            wait_for(lambda: "foc" in (second.run(told) or ""))
            second.press("E")
            dialog = "document.querySelector('.q-dialog')?.innerText ?? ''"
            wait_for(lambda: "is being edited in another window" in second.run(dialog))
            for one in (tab, second):
                assert_at_home(one, address)
        finally:
            tab.close()
            if second:
                second.close()


@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1920, True)])
def test_everybody_can_use_it(run, painted, tmp_path, width, dark):
    copy = shutil.copytree(run, tmp_path / "run")
    with serving(copy, "--slide", painted) as address:
        tab = Tab(tmp_path / "profile", address)
        try:
            tab.look(width, 900, dark)
            told = "[...document.querySelectorAll('[aria-live]')].map(e => e.textContent).join(' | ')"
            wait_for(lambda: "foc" in (tab.run(told) or ""))
            assert tab.run("document.body.classList.contains('body--dark')") == dark
            assert tab.run(HARD_TO_USE) == []
            tab.press("E")
            wait_for(lambda: "as saved" in tab.run(told))
            assert tab.run(HARD_TO_USE) == []
            # Nothing is cut off at the right.
            assert tab.run("document.documentElement.scrollWidth") <= width
            assert_at_home(tab, address)
        finally:
            tab.close()


@needs_browser
def test_each_slide_of_a_folder_is_opened_from_the_list(run, painted, tmp_path):
    (tmp_path / "broken.tif").write_bytes(b"II*\0 no slide")
    output = tmp_path / "out"
    wsi_idc.segment_slides([shutil.copy(painted, tmp_path / "one & two.tif"), tmp_path / "broken.tif"], output)
    with serving(output) as address:
        tab = Tab(tmp_path / "profile", address)
        try:
            rows = "[...document.querySelectorAll('#slides tbody tr')].map(r => r.innerText)"
            wait_for(lambda: len(tab.run(rows) or []) == 2)
            assert any("no reader" in r or "not a slide" in r or "broken" in r for r in tab.run(rows))
            wait_for(lambda: tab.run("document.querySelector('#slides img').naturalWidth") > 0)
            tab.run("document.querySelector('#slides tbody td:nth-child(2) a').click()")
            wait_for(lambda: "IDC" in (tab.run("document.querySelector('[aria-live]')?.textContent") or ""))
            assert tab.run("document.querySelector('[role=heading]').textContent") == "one & two.tif"
            assert_at_home(tab, address)
        finally:
            tab.close()


@needs_browser
def test_a_slide_without_a_run_says_so(painted, tmp_path):
    with serving(painted) as address:
        tab = Tab(tmp_path / "profile", address)
        try:
            wait_for(lambda: "no run of this slide yet" in (tab.run("document.body?.innerText") or ""))
            wait_for(lambda: tab.run("document.querySelectorAll('img.leaflet-tile-loaded').length") > 0)
            assert_at_home(tab, address)
        finally:
            tab.close()


def test_what_cannot_be_shown_is_said_in_a_line(run, tmp_path):
    moved = shutil.copytree(run, tmp_path / "moved")
    command = [sys.executable, "-m", "wsi_idc", "view", moved]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"error: .*moved: its slide painted\.tif is neither .*--slide\n", done.stderr), done.stderr


def _is_true(said, found):
    """Say whether the numbers shown are those of the threshold shown, which is a step of the slider."""
    shown = re.match(r"At ([\d.]+): IDC ([\d.]+) mm²", said)
    if shown is None:
        # What is in view is redrawn first, with an area that is about right.
        return False
    threshold, area = shown.groups()
    near = [found.regions(float(threshold) + off)["numbers"]["idc_mm2"] for off in (-0.005, 0, 0.005)]
    return min(near) - 0.01 <= float(area) <= max(near) + 0.01
