"""Jobs from the upload to the results: good and bad, with the server killed in the middle, none twice."""

import io
import json
import os
import signal
import time
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
from browser import wait_for
from served import Served

import wsi_idc
from wsi_idc.serve.store import Bounds, Store
from wsi_idc.serve.worker import Worker


def begun(server, key):
    """How often segment was begun for a job."""
    log = server.data / "jobs" / key / "out" / "log.jsonl"
    lines = log.read_text().splitlines() if log.is_file() else []
    return sum(json.loads(line)["stage"] == "run begun" for line in lines)


def process_of(server, key):
    return int((server.data / "jobs" / key / "process").read_text())


def test_a_slide_is_sent_computed_looked_at_fetched_and_removed(server, small):
    junk = server.send("junk.svs", b"junk" * 100)
    key = server.send("Case 7.svs", small.read_bytes())
    assert server.ended(junk)["reason"].startswith("it is no slide that can be read, or a damaged one")
    job = server.ended(key)
    assert job["state"] == "done" and "mm²" in job["result"]["conclusion"], job
    with zipfile.ZipFile(io.BytesIO(server.ask("GET", f"/api/jobs/{key}/heatmap.zarr.zip")[2])) as archive:
        assert archive.testzip() is None and "heatmap.zarr/zarr.json" in archive.namelist()
        run = server.data / "jobs" / key / "out" / "Case-7"
        held = {f"heatmap.zarr/{p.relative_to(run / 'heatmap.zarr')}" for p in (run / "heatmap.zarr").rglob("*")}
        assert {n for n in held if not (run / n).is_dir()} == set(archive.namelist())
    status, headers, report = server.ask("GET", f"/api/jobs/{key}/report.html")
    assert status == 200 and b"Case-7.svs" in report and headers["content-disposition"].startswith("inline")
    assert "attachment" in server.ask("GET", f"/api/jobs/{key}/regions.geojson")[1]["content-disposition"]
    for name in ("log.jsonl", "manifest.csv", "..%2fout%2flog.jsonl", "upload"):
        assert server.ask("GET", f"/api/jobs/{key}/{name}")[0] == 404
    # The very result that the command gives.
    expected = wsi_idc.segment(small, server.data.parent / "expected").summary
    assert job["result"]["idc_mm2"] == expected["idc_mm2"]
    assert server.ask("GET", f"/of/{key}/tile/0/0/0")[0] == 200
    assert server.ask("GET", f"/of/{key}/regions?threshold=0.5")[0] == 200
    assert server.ask("POST", f"/api/jobs/{key}/again")[0] == 409
    # What failed is begun again by hand, and says again why.
    assert server.ask("POST", f"/api/jobs/{junk}/again")[0] == 200
    assert server.ended(junk)["state"] == "failed"
    assert server.ask("DELETE", f"/api/jobs/{key}")[0] == 204
    assert server.job(key)["state"] == "expired" and not (server.data / "jobs" / key).exists()
    assert server.ask("GET", f"/of/{key}/tile/0/0/0")[0] == 404
    assert server.ask("GET", f"/api/jobs/{key}/report.html")[0] == 404


@pytest.mark.parametrize("with_it", [False, True], ids=["the job lives on", "the job dies too"])
def test_a_job_is_done_once_though_the_server_is_killed(server, small, with_it):
    key = server.send("slide.svs", small.read_bytes())
    waiting = server.send("next.svs", small.read_bytes())
    wait_for(lambda: begun(server, key) == 1)
    server.kill()
    if with_it:
        os.killpg(process_of(server, key), signal.SIGKILL)
    server.start()
    assert server.ended(key)["state"] == "done"
    assert server.ended(waiting)["state"] == "done"
    assert (begun(server, key), begun(server, waiting)) == (1 + with_it, 1)
    for one in (key, waiting):
        assert server.ask("DELETE", f"/api/jobs/{one}")[0] == 204


def test_a_job_that_crashes_says_so_and_one_that_is_removed_ends(server, small):
    key = server.send("slide.svs", small.read_bytes())
    wait_for(lambda: begun(server, key) == 1)
    os.killpg(process_of(server, key), signal.SIGKILL)
    assert "SIGKILL" in server.ended(key)["reason"]
    assert server.ask("POST", f"/api/jobs/{key}/again")[0] == 200
    wait_for(lambda: begun(server, key) == 2)
    process = process_of(server, key)
    assert server.ask("DELETE", f"/api/jobs/{key}")[0] == 204
    wait_for(lambda: not Path(f"/proc/{process}").exists())
    wait_for(lambda: not (server.data / "jobs" / key).exists())


def scale_of(server, key):
    """The scale that a job is said to have, and that of its results."""
    summary = json.loads(server.ask("GET", f"/api/jobs/{key}/summary.json")[2])
    return server.job(key)["mpp"], summary["slide"]["mpp"]["x"]


def test_a_picture_gets_its_scale_afterwards(server, picture):
    key = server.send("field.png", picture)
    assert "states no scale" in server.ended(key)["reason"]
    assert server.ask("POST", f"/api/jobs/{key}/again?mpp=1e9")[0] == 400
    assert server.ask("POST", f"/api/jobs/{key}/again?mpp=4.0")[0] == 200
    assert server.ended(key)["state"] == "done" and scale_of(server, key) == (4.0, 4.0)


def test_a_scale_that_was_wrong_is_said_anew(server, picture):
    """The slide that was made of the picture at the first try kept its scale."""
    key = server.send("field.png", picture, 20.0)
    assert "coarser" in server.ended(key)["reason"]
    assert server.ask("POST", f"/api/jobs/{key}/again?mpp=4")[0] == 200
    wait_for(lambda: begun(server, key) == 1)
    os.killpg(process_of(server, key), signal.SIGKILL)
    assert "SIGKILL" in server.ended(key)["reason"]
    # The upload is not kept any more, and part of it is computed at 4 um/px.
    assert not (server.data / "jobs" / key / "upload").exists()
    assert server.ask("POST", f"/api/jobs/{key}/again?mpp=2")[0] == 200
    job = server.ended(key)
    assert job["state"] == "done" and scale_of(server, key) == (2.0, 2.0)
    assert not [w for w in job["result"]["warnings"] if "um/px" in w]
    assert server.ask("GET", f"/of/{key}/tile/0/0/0")[0] == 200


def test_a_scale_that_its_sender_says_counts_more_than_the_file_and_a_warning_says_so(server, small):
    key = server.send("slide.tif", small.read_bytes(), 2.0)
    job = server.ended(key)
    assert job["state"] == "done" and scale_of(server, key) == (2.0, 2.0)
    assert [w for w in job["result"]["warnings"] if "states 4 um/px" in w and "--mpp 2 was used" in w]
    assert b"--mpp 2 was used" in server.ask("GET", f"/api/jobs/{key}/report.html")[2]


def test_what_runs_is_not_begun_again(server, small):
    key = server.send("slide.svs", small.read_bytes())
    wait_for(lambda: begun(server, key) == 1)
    status, _, body = server.ask("POST", f"/api/jobs/{key}/again?mpp=2")
    assert status == 409 and b"only what failed" in body
    assert server.ended(key)["mpp"] is None and begun(server, key) == 1


def test_a_second_server_is_refused_and_what_was_kept_long_enough_goes(tmp_path, small):
    with Served(tmp_path / "data", "--keep-days", "0.00005") as first:
        key = first.send("junk.svs", b"junk")
        first.ended(key)
        second = Served(first.data)
        assert second.process.wait(30) == 1
        assert "another wsi-idc" in (tmp_path / "server.txt").read_text()
        time.sleep(5)
        first.stop()
        (first.data / "jobs" / ("0" * 32)).mkdir()
        first.start()
        job = first.job(key)
        assert job["state"] == "expired" and "was kept for 5e-05 days" in job["reason"]
        assert list((first.data / "jobs").iterdir()) == []


def test_what_was_begun_too_often_fails_and_is_kept(tmp_path, small):
    """Its upload was removed, so that it could not be begun again."""
    with closing(Store(tmp_path / "data", Bounds(1 << 30, 10, 1.0))) as store:
        job = store.begin("slide.tif", small.stat().st_size, None)
        place = store.place(job)
        place.upload.write_bytes(small.read_bytes())
        store.complete(job.id)
        # As by servers that died.
        while store.queue.begin(job.id).tries < 5:
            pass
        worker = Worker(store)
        worker.start()
        try:
            wait_for(lambda: store.queue.get(job.id).state == "failed", 60)
            assert store.queue.get(job.id).reason.startswith("it was begun 5 times")
            store.again(job.id, None)
            wait_for(lambda: store.queue.get(job.id).state in ("done", "failed"))
        finally:
            worker.stop()
        assert store.queue.get(job.id).state == "done"


@pytest.mark.realdata
def test_slides_of_scanners_are_sent_as_they_are(shared, tmp_path):
    slides, packed = shared / "slides", io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for file in sorted((slides / "dicom" / "cmu-1-small-region").iterdir()):
            archive.write(file, f"case/{file.name}")
    names = ("CMU-1-Small-Region.svs", "test3-DAPI-2_387.ndpi", "TCGA-CR-7395-01A-01-TS1.svs")
    with Served(tmp_path / "data") as server:
        sent = [server.send(name, (slides / name).read_bytes()) for name in names]
        aperio, fluorescence, no_scale, dicom = [
            server.ended(key, 300) for key in (*sent, server.send("case.zip", packed.getvalue()))
        ]
    assert aperio["state"] == dicom["state"] == "done"
    assert "tissue" in aperio["result"]["conclusion"] and "tissue" in dicom["result"]["conclusion"]
    assert "not a brightfield" in fluorescence["result"]["warnings"][0]
    assert no_scale["state"] == "failed" and no_scale["reason"].startswith("it states no scale")
