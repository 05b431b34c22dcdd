"""index.html of an output folder: all slides of the manifest, whatever their names, and quick for many."""

import json
import os
import random
import re
import shutil
from urllib.parse import unquote_to_bytes

import pytest
from browser import needs_browser, told

from wsi_idc.models.registry import find_model
from wsi_idc.runs.batch import segment_slides
from wsi_idc.runs.folder_page import FolderPage, folder_page
from wsi_idc.runs.manifest import NUMBERS, Manifest
from wsi_idc.runs.settings import Settings

HOSTILE = "</script><img src=x onerror=alert(1)>&\udcff.svs"


def row(number, **changes):
    numbers = {"tissue_mm2": "10.0", "idc_mm2": "2.5", "idc_share": "0.25", "foci": "2", "largest_extent_mm": "1.5"}
    facts = {"slide": f"/slides/s{number}.svs", "state": "done", "output": f"s{number}", "seconds": "12.5"}
    return facts | numbers | {"patches": "250", "failed_chunks": "0"} | changes


FAILED = dict.fromkeys([*NUMBERS, "failed_chunks"], "")


def page_of(folder, *rows):
    manifest = Manifest(folder / "manifest.csv")
    manifest.add(rows)
    return folder_page(folder, manifest.read())


def rows_in(page):
    return json.loads(re.search(r'<script type="application/json" id="rows">(.*?)</script>', page, re.DOTALL)[1])


def test_names_and_reasons_are_data_whatever_they_hold(tmp_path):
    page = page_of(
        tmp_path,
        row(1, slide=f"/slides/{HOSTILE}", output=HOSTILE.replace("/", "_"), warnings="20 % of <b> is blurred; faint"),
        row(2, state="failed", reason=f"/slides/s2.svs: {HOSTILE}", **FAILED),
    )
    assert "<img" not in page and page.count("</script>") == 2 and "://" not in page
    first, second = rows_in(page)
    assert first["slide"] == f"/slides/{HOSTILE}"
    assert re.fullmatch(r"[A-Za-z0-9%._~-]+", first["folder"]) and "%FF" in first["folder"]
    assert first["warnings"] == ["20 % of <b> is blurred", "faint"]
    assert first["flags"] == ["# % of <b> is blurred", "faint"]
    assert (second["reason"], second["there"], second["idc_mm2"]) == (HOSTILE, False, None)
    assert "1 of 2 slides done (1 failed); IDC was found on 1 of the 1 looked at." in page


def test_a_folder_run_shows_its_slides_with_links_that_lead_somewhere(painted, tmp_path):
    slides = [shutil.copy(painted, tmp_path / name) for name in ("a b#1.tif", "c.tif")]
    (tmp_path / "broken.svs").write_bytes(b"no slide")
    output = tmp_path / "out"
    segment_slides([*slides, tmp_path / "broken.svs"], output, find_model("idc-patch"), Settings(threads=1))
    shown = rows_in((output / "index.html").read_text(encoding="utf-8"))
    assert [s["state"] for s in shown] == ["done", "done", "failed"]
    for slide in shown[:2]:
        folder = os.fsdecode(unquote_to_bytes(slide["folder"]))
        assert (output / folder / "report.html").is_file()
        assert (output / folder / "thumbnail.jpg").read_bytes().startswith(b"\xff\xd8")
    assert "not a slide" in shown[2]["reason"]


def test_a_slide_alone_writes_none(painted, tmp_path):
    segment_slides([painted], tmp_path / "out", find_model("idc-patch"), Settings())
    assert not (tmp_path / "out" / "index.html").exists()


def test_where_it_cannot_be_written_the_run_goes_on_and_says_so(tmp_path, caplog):
    (tmp_path / "index.html").mkdir()
    (tmp_path / "index.html" / "mine").touch()
    manifest = Manifest(tmp_path / "manifest.csv")
    manifest.add([row(1)])
    FolderPage(tmp_path, manifest).write()
    assert "index.html: cannot be written" in caplog.text and "manifest.csv has all" in caplog.text
    assert (tmp_path / "index.html" / "mine").is_file()


def test_while_a_run_lasts_it_is_written_seldom(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("wsi_idc.runs.folder_page.time.monotonic", lambda: now[0])
    manifest = Manifest(tmp_path / "manifest.csv")
    manifest.add([row(1)])
    page = FolderPage(tmp_path, manifest)
    written = []
    for _ in range(300):
        now[0] += 1
        before = (tmp_path / "index.html").stat().st_mtime_ns if (tmp_path / "index.html").exists() else 0
        page.now_and_then()
        if (tmp_path / "index.html").exists() and (tmp_path / "index.html").stat().st_mtime_ns != before:
            written.append(now[0])
    assert written == [1060, 1120, 1180, 1240, 1300]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """5,000 slides, some failed, some blurred."""
    folder, rng = tmp_path_factory.mktemp("many"), random.Random(0)
    rows = []
    for number in range(5000):
        blurred = f"{rng.randrange(20, 99)}% of the tissue is out of focus" if number % 7 == 0 else ""
        changes = {"idc_mm2": f"{rng.random() * 50:.4f}", "foci": str(number % 4), "warnings": blurred}
        failed = FAILED | {"state": "failed", "reason": f"/slides/s{number}.svs: no such file"}
        rows.append(row(number, **(failed if number % 100 == 99 else changes)))
    (folder / "index.html").write_text(page_of(folder, *rows), encoding="utf-8")
    return folder / "index.html"


@needs_browser
def test_many_slides_are_there_in_two_seconds_sorted_and_filtered(many, tmp_path):
    code = """
      const loaded = performance.now(), rows = () => document.querySelectorAll("#slides tbody tr");
      const first = rows().length, count = () => document.getElementById("count").textContent;
      const set = (id, value) => {
        const c = document.getElementById(id);
        c.value = value; c.dispatchEvent(new Event("input"));
      };
      set("state", "failed"); const failed = [count(), rows()[0].textContent];
      set("state", ""); set("flag", "#% of the tissue is out of focus"); const blurred = count();
      set("flag", ""); set("find", "S4321.");
      const found = [count(), rows()[0].querySelectorAll("a")[1].getAttribute("href")];
      set("find", "");
      document.querySelector('[data-key="idc_mm2"]').click();
      const areas = [...rows()].map(r => Number(r.cells[3].textContent));
      document.getElementById("next").click(); const page = document.getElementById("page").textContent;
      return {loaded, first, failed, blurred, found, areas, page, faults};
    """
    seen = told(many, code, tmp_path)
    assert seen["loaded"] < 2000 and seen["first"] == 100
    assert seen["failed"][0] == "50 of 5000 slides" and "no such file" in seen["failed"][1]
    # A slide in seven, but for those of them that failed.
    blurred = sum(n % 7 == 0 and n % 100 != 99 for n in range(5000))
    assert seen["blurred"] == f"{blurred} of 5000 slides"
    assert seen["found"] == ["1 of 5000 slides", "s4321/report.html"]
    assert seen["areas"] == sorted(seen["areas"], reverse=True) and seen["areas"][0] > 49
    assert seen["page"] == "2 of 50" and seen["faults"] == []


@needs_browser
@pytest.mark.parametrize("width", [400, 1280, 1920])
def test_nothing_is_wider_than_the_window(many, tmp_path, width):
    wide, window = told(many, "return [document.documentElement.scrollWidth, innerWidth];", tmp_path, width)
    assert wide <= window
