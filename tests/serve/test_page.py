"""The page in a browser: files are chosen, sent in parts with the server killed in the middle, and looked at."""

import json
import os
from contextlib import contextmanager

import pytest
from browser import HARD_TO_USE, Tab, needs_browser, wait_for
from served import Served

LIST = "document.querySelector('#jobs')?.innerText ?? ''"


def choose(tab, *files):
    found = tab._send("Runtime.evaluate", expression="document.querySelector('#files')")
    tab._send("DOM.setFileInputFiles", files=[str(file) for file in files], objectId=found["result"]["objectId"])


def send_at(tab, rate):
    """Have what the page sends take its time, in bytes a second; -1 for none."""
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": rate}
    tab._send("Network.emulateNetworkConditions", **slow)


@contextmanager
def slow_page(folder):
    """A server without uploads, and its page in a tab, which sends slowly, so that there is a middle."""
    with Served(folder / "data") as server:
        tab = Tab(folder / "profile", server.address)
        try:
            wait_for(lambda: "None yet" in (tab.run("document.body?.innerText") or ""))
            send_at(tab, 5_000_000)
            yield server, tab
        finally:
            tab.close()


def press(tab, name):
    """Press the button, or follow the link, whose name begins so."""
    tab.run(f"document.querySelector({json.dumps(f'[aria-label^={name!r}]')}).click()")


@needs_browser
def test_an_upload_survives_the_server_and_its_result_is_looked_at(tmp_path, small):
    slide, junk, picture = tmp_path / "Case 7.tif", tmp_path / "<i>junk.svs", tmp_path / "field.png"
    # Many parts, however slow the machine; what follows a TIFF is not looked at.
    slide.write_bytes(small.read_bytes() + bytes(80_000_000))
    junk.write_bytes(b"junk" * 1000)
    picture.write_bytes(b"\x89PNG")
    with slow_page(tmp_path) as (server, tab):
        choose(tab, slide, picture)
        assert "does not state its scale" in tab.run("document.querySelector('[role=alert]').innerText")
        wait_for(lambda: any(j["received"] >= 8 * 2**20 for j in jobs(server)))
        server.kill()
        wait_for(lambda: "goes on by itself" in tab.run(LIST) and "server does not answer" in tab.run(all_text()))
        send_at(tab, -1)
        server.start()
        choose(tab, junk)
        wait_for(lambda: {j["state"] for j in jobs(server)} == {"done", "failed"}, 120)
        wait_for(lambda: "is no slide" in tab.run(LIST) and "mm²" in tab.run(LIST))
        # One upload of each, though it was broken off; and a name is text.
        assert [j["name"] for j in jobs(server)] == ["Case 7.tif", "<i>junk.svs"]
        assert "<i>junk.svs" in tab.run(LIST)
        assert jobs(server)[0]["size"] == slide.stat().st_size
        for width, dark in ((1280, False), (1920, True), (400, False)):
            tab.look(width, 900, dark)
            assert tab.run(HARD_TO_USE) == []
            assert tab.run("document.documentElement.scrollWidth") <= width
        tab.look(1280, 900, False)
        press(tab, "Look at it: Case 7.tif")
        wait_for(lambda: "foc" in (tab.run("document.querySelector('[aria-live]')?.textContent") or ""))
        wait_for(lambda: tab.run("document.querySelectorAll('img.leaflet-tile-loaded').length") > 0)
        hosts = {r.split("/")[2] for r in tab.requests if r.startswith(("http", "ws"))}
        assert hosts == {server.address.removeprefix("http://")}
        # What failed while the server was away is what the browser says of it.
        assert [f for f in tab.faults if "ERR_CONNECTION" not in f] == []


@needs_browser
def test_a_scale_that_is_corrected_holds_and_files_of_one_name_are_two(tmp_path, picture):
    field = tmp_path / "field.png"
    # Many parts, however slow the machine; what follows a picture is not looked at.
    field.write_bytes(picture + bytes(80_000_000))
    twins = [tmp_path / folder / "twin.svs" for folder in ("a", "b")]
    for number, twin in enumerate(twins):
        twin.parent.mkdir()
        twin.write_bytes(b"junk %d" % number)
        os.utime(twin, (number + 1e9, number + 1e9))
    with slow_page(tmp_path) as (server, tab):
        tab.run("document.querySelector('#mpp').value = '2'")
        choose(tab, field)
        # It counts for more than what slides state, so it holds for these files only.
        wait_for(lambda: tab.run("document.querySelector('#mpp').value") == "")
        wait_for(lambda: any(j["received"] >= 8 * 2**20 for j in jobs(server)))
        tab.run("document.querySelector('#mpp').value = '4'")
        choose(tab, field)
        wait_for(lambda: "already, with 2 µm per pixel" in tab.run("document.querySelector('#told').innerText"))
        tab.run("location.reload()")
        wait_for(lambda: "sender broke off" in (tab.run(LIST) or ""))
        send_at(tab, -1)
        tab.run("document.querySelector('#mpp').value = '4'")
        choose(tab, field)
        wait_for(lambda: "done" in {j["state"] for j in jobs(server)}, 120)
        assert [(j["state"], j["mpp"]) for j in jobs(server)] == [("expired", 2.0), ("done", 4.0)]
        wait_for(lambda: "4 µm per pixel" in tab.run(LIST))
        # One that is too coarse gets another scale on the page, where it says why it failed.
        coarse = server.send("coarse.png", picture, 20.0)
        wait_for(lambda: tab.run("document.querySelector('.actions input') !== null"))
        tab.run("document.querySelector('.actions input').value = '4'")
        press(tab, "Start again: coarse.png")
        wait_for(lambda: server.job(coarse)["state"] == "done")
        assert server.job(coarse)["mpp"] == 4.0
        choose(tab, *twins)
        wait_for(lambda: [j["state"] for j in jobs(server)][3:] == ["failed"] * 2)
        sent = [server.data / "jobs" / j["id"] / "upload" for j in jobs(server)[3:]]
        assert sorted(file.read_bytes() for file in sent) == [b"junk 0", b"junk 1"]
        assert tab.run(HARD_TO_USE) == []
        # That nobody was asked before the page was left is what the browser says of it.
        assert [f for f in tab.faults if "beforeunload" not in f] == []


@needs_browser
@pytest.mark.parametrize("page", ["about", "api"])
def test_everybody_can_read_the_other_pages(server, tmp_path, page):
    tab = Tab(tmp_path / "profile", f"{server.address}/{page}")
    try:
        wait_for(lambda: "wsi-idc" in (tab.run("document.title") or ""))
        for width, dark in ((1280, False), (1920, True), (400, False)):
            tab.look(width, 900, dark)
            assert tab.run(HARD_TO_USE) == []
            assert tab.run("document.documentElement.scrollWidth") <= width
        hosts = {r.split("/")[2] for r in tab.requests if r.startswith("http")}
        assert hosts == {server.address.removeprefix("http://")} and tab.faults == []
    finally:
        tab.close()


def jobs(server):
    status, _, body = server.ask("GET", "/api/jobs")
    return json.loads(body) if status == 200 else []


def all_text():
    return "document.body.innerText"
