import csv
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import wsi_idc
from wsi_idc.base.files import locked
from wsi_idc.errors import DataError, HeldError, ModelError, OtherRunError, SlideError
from wsi_idc.runs.batch import segment_slides
from wsi_idc.runs.executors.executor import Limits, Listener
from wsi_idc.runs.upkeep.status import read_status
from wsi_idc.runs.upkeep.verify import verify
from wsi_idc.slides.write import write_slide


def rows(manifest):
    with manifest.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_failing_slide_does_not_stop_the_others(painted, tmp_path):
    bad = tmp_path / "bad.svs"
    bad.write_text("not a slide")
    good = shutil.copy(painted, tmp_path / "good.tif")
    done = []

    class Done(Listener):
        def ended(self, number, outcome):
            done.append(([bad, good][number], outcome))

    out = tmp_path / "out"
    outcomes = segment_slides([bad, good], out, wsi_idc.find_model(), wsi_idc.Settings(), Done())
    assert isinstance(outcomes[bad], SlideError)
    assert outcomes[good].summary["state"] == "done"
    assert [s for s, _ in done] == [bad, good]
    assert str(outcomes[bad]).startswith(f"{bad}: not a slide")
    first, second = rows(out / "manifest.csv")
    assert (first["state"], second["state"]) == ("failed", "done")
    assert "bad.svs" in first["reason"]
    assert float(second["idc_mm2"]) == outcomes[good].summary["idc_mm2"]
    assert float(second["seconds"]) > 0


def test_an_unforeseen_error_is_one_slides_own(painted, tmp_path, monkeypatch):
    from wsi_idc.runs import steps

    def breaks(*_):
        raise ZeroDivisionError("nobody thought of this")

    package, settings, out = wsi_idc.find_model(), wsi_idc.Settings(), tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(steps, "find_tissue", breaks)
        outcome = segment_slides([painted], out, package, settings)[painted]
    assert f"{painted}: ZeroDivisionError: nobody thought of this" in str(outcome)
    assert rows(out / "manifest.csv")[0]["state"] == "failed"
    assert segment_slides([painted], out, package, settings)[painted].summary["state"] == "done"


def test_a_damaged_model_stops_the_batch(painted, tmp_path):
    model = shutil.copytree(wsi_idc.find_model().folder, tmp_path / "model")
    (model / "encoder.onnx").write_bytes(b"")
    package = wsi_idc.find_model(model)
    with pytest.raises(ModelError, match="sha256"):
        segment_slides([painted], tmp_path / "out", package, wsi_idc.Settings())
    slides = [shutil.copy(painted, tmp_path / f"{n}.tif") for n in "12"]
    with pytest.raises(ModelError, match="sha256"):
        segment_slides(slides, tmp_path / "out", package, wsi_idc.Settings(), limits=Limits(processes=2))


def test_manifest_keeps_the_rows_of_earlier_runs(painted, tmp_path):
    package, settings = wsi_idc.find_model(), wsi_idc.Settings()
    one, two = (shutil.copy(painted, tmp_path / f"{n}.tif") for n in "12")
    segment_slides([one], tmp_path / "out", package, settings)
    segment_slides([two], tmp_path / "out", package, settings)
    assert [r["slide"] for r in rows(tmp_path / "out" / "manifest.csv")] == [str(one), str(two)]


def test_results_that_a_run_leaves_stay_in_the_table_and_say_why(painted, tmp_path):
    """Other settings without --overwrite: what is there is whole, and is that of the settings before."""
    one, two = (shutil.copy(painted, tmp_path / f"{n}.tif") for n in "12")
    package, out = wsi_idc.find_model(), tmp_path / "out"
    segment_slides([one], out, package, wsi_idc.Settings(threshold=0.9))
    (before,) = rows(out / "manifest.csv")
    outcomes = segment_slides([one, two], out, package, wsi_idc.Settings())
    assert isinstance(outcomes[one], OtherRunError)
    first, second = rows(out / "manifest.csv")
    # The summary does not say how long the slide took from without.
    expected = before | {"reason": str(outcomes[one]), "seconds": first["seconds"]}
    assert first == expected and first["state"] == "done"
    assert first["made_by"] == f"idc-context {package.version}, threshold 0.9, min_area_mm2 0.04, stride 50"
    assert second["made_by"].startswith(f"idc-context {package.version}, threshold 0.2")
    assert len(read_status(out).made_by) == 2
    said = "These are results of different models or settings: 1 by idc-context"
    assert said in (out / "index.html").read_text(encoding="utf-8")
    assert verify(out).whole
    write_slide(one, np.full((600, 600, 3), 250, np.uint8), 4.0)
    segment_slides([one, two], out, package, wsi_idc.Settings())
    assert rows(out / "manifest.csv")[0]["state"] == "failed", "they are of what the slide was before"


def test_one_slide_under_two_names_is_said_to_count_twice(painted, tmp_path):
    slides = [Path(shutil.copy(painted, tmp_path / f"{n}.tif")) for n in "12"]
    segment_slides(slides, tmp_path / "out", wsi_idc.find_model(), wsi_idc.Settings())
    first, second = sorted((r["warnings"] for r in rows(tmp_path / "out" / "manifest.csv")), key=len)
    assert "counts twice" not in first and verify(tmp_path / "out").whole
    assert re.search(rf"is the same slide as {tmp_path}/[12]\.tif, so it counts twice$", second)


def test_slides_of_one_name_find_their_results_again(painted, tmp_path):
    package, settings, out = wsi_idc.find_model(), wsi_idc.Settings(), tmp_path / "out"
    one, two = tmp_path / "a" / "1.tif", tmp_path / "b" / "1.tif"
    for slide in (one, two):
        slide.parent.mkdir()
        shutil.copy(painted, slide)
    seen = []

    class Seen(Listener):
        def started(self, number):
            state = {r["slide"]: r["state"] for r in rows(out / "manifest.csv")}
            seen.append((number, state[str([one, two][number])]))

        def planned(self, number, patches):
            seen.append(patches)

    both = segment_slides([one, two], out, package, settings, Seen())
    patches = both[one].summary["patches"]
    assert seen == [(0, "running"), patches, (1, "running"), patches]
    took = rows(out / "manifest.csv")
    again = segment_slides([two], out, package, settings)[two]
    assert again.reused
    assert again.folder == both[two].folder != both[one].folder
    assert float(rows(out / "manifest.csv")[1]["seconds"]) == pytest.approx(float(took[1]["seconds"]), abs=0.5)


def test_a_slide_that_takes_too_long_is_recorded(painted, tmp_path):
    out = tmp_path / "out"
    segment_slides([painted], out, wsi_idc.find_model(), wsi_idc.Settings(), limits=Limits(minutes=1e-6))
    (row,) = rows(out / "manifest.csv")
    assert row["state"] == "failed"
    assert row["reason"] == f"{painted}: took longer than 1e-06 minutes; give more with --time-limit"


def test_a_killed_run_leaves_nobody_behind_and_goes_on(painted, tmp_path):
    """The parent is killed when its first slide of two has been begun; status then knows, and a second run ends it."""
    slides = [shutil.copy(painted, tmp_path / f"{n}.tif") for n in "12"]
    out = tmp_path / "out"
    command = [sys.executable, "-m", "wsi_idc", "segment", *slides, "-o", out, "--workers", "2"]
    # From another folder: in the project's root Python finds the folder wsi_idc, without the parts that lie beside it.
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=Path(__file__).parent)
    while not (out / "manifest.csv").exists() or not any(r["state"] == "running" for r in rows(out / "manifest.csv")):
        assert run.poll() is None
        time.sleep(0.01)
    run.kill()
    run.wait()
    killed = time.monotonic()
    while (found := read_status(out)).running:
        assert time.monotonic() < killed + 120, "children end with their parent, within moments"
    assert found.remaining == 2
    assert 1 <= found.interrupted <= 2
    done = segment_slides(slides, out, wsi_idc.find_model(), wsi_idc.Settings(), limits=Limits(processes=2))
    assert all(o.summary["state"] == "done" for o in done.values())
    assert read_status(out).done == 2


def test_an_interrupted_overwriting_goes_on_with_what_is_left(painted, tmp_path):
    slides = [Path(shutil.copy(painted, tmp_path / f"{n}.tif")) for n in "12"]
    package, out, again = wsi_idc.find_model("idc-patch"), tmp_path / "out", wsi_idc.Settings(overwrite=True)
    segment_slides(slides, out, package, wsi_idc.Settings())

    class Interrupts(Listener):
        def ended(self, number, outcome):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment_slides(slides, out, package, again, Interrupts())
    assert rows(out / "manifest.csv")[0]["state"] == "done"
    assert read_status(out).remaining == 1, "what is still to be overwritten is to be done"
    assert [o.reused for o in segment_slides(slides, out, package, again).values()] == [True, False]
    assert not (out / ".overwriting").exists()
    # It is over: who asks once more wants all of them once more.
    assert [o.reused for o in segment_slides(slides, out, package, again).values()] == [False, False]


def test_a_slide_that_another_process_has_is_left_to_it(painted, tmp_path):
    out = tmp_path / "out"
    with locked(out / "painted"):
        outcome = segment_slides([painted], out, wsi_idc.find_model("idc-patch"), wsi_idc.Settings())[painted]
        assert isinstance(outcome, HeldError)
        assert rows(out / "manifest.csv")[0]["state"] == "running", "not failed: the other one does it"


def test_importing_it_loads_nothing_that_computes():
    code = "import sys, wsi_idc.runs.batch; print(*{'dask', 'distributed', 'numpy', 'zarr'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout == "\n"


def test_a_scale_that_is_corrected_in_a_list_is_another_run_of_the_same_slide(painted, tmp_path):
    """The right result went into another folder, and the wrong one stayed, both done."""
    out, package = tmp_path / "out", wsi_idc.find_model("idc-patch")
    (tmp_path / "link.tif").symlink_to(painted)

    def listed(said, file=painted, **settings):
        slide = Path(f"{file}{said}")
        return segment_slides([slide], out, package, wsi_idc.Settings(**settings))[slide]

    def states():
        return [(row["output"], row["state"]) for row in rows(out / "manifest.csv")]

    assert listed("::mpp=2,name=foo").summary["slide"]["mpp"]["x"] == 2
    for said in ("::mpp=4,name=foo", "::name=foo"):
        assert "holds another run (mpp 2" in str(listed(said))
    assert "holds another run" in str(listed("::mpp=4,name=foo", file=tmp_path / "link.tif"))
    assert states() == [("foo", "done")], "the results that are there, and why they were left"
    right = listed("::mpp=4,name=foo", overwrite=True)
    assert right.summary["slide"]["mpp"]["x"] == 4 and right.folder == out / "foo"
    assert states() == [("foo", "done")]
    assert listed("::mpp=4,name=foo").reused
    # Without a name, and by --mpp after a list, it is alike.
    assert listed("::mpp=2").summary["slide"]["mpp"]["x"] == 2
    assert "holds another run" in str(listed("")) and "holds another run" in str(listed("", mpp=4.0))
    assert listed("", mpp=2.0).reused
    with pytest.raises(DataError, match="is named again"):
        segment_slides([Path(f"{painted}::mpp=2"), Path(f"{painted}::mpp=4")], out, package, wsi_idc.Settings())
