import json
import shutil
import subprocess
import sys

import pytest
import shapely

import wsi_idc
from wsi_idc.annotations.read import read_annotations
from wsi_idc.api.conversion import convert_annotations
from wsi_idc.errors import DataError, HeldError, OutputError
from wsi_idc.runs.upkeep.verify import verify_run
from wsi_idc.viewer import edits
from wsi_idc.viewer.desk import NAME, Desk
from wsi_idc.viewer.edits import History
from wsi_idc.viewer.shelf import opened


@pytest.fixture(scope="module")
def made(painted, tmp_path_factory):
    return wsi_idc.segment(painted, tmp_path_factory.mktemp("edited")).folder


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


def hole(session, size):
    """Cut a hole around the middle of the largest region, with two sides of it crossed."""
    x, y = shapely.get_coordinates(shapely.point_on_surface(session.history.now.outlines[0].geometry))[0]
    return lambda o: edits.cut(o, [], [(x - 9, y - 9), (x + 9, y + 9), (x + 9, y - 9), (x - 9, y + 9)], size)


def test_what_is_saved_goes_round_without_another_program(run, painted, tmp_path):
    before = (run / "regions.geojson").read_bytes()
    desk = Desk()
    session = desk.begin(run, "one")
    assert session.saved and session.begun_with == "regions.geojson"
    session.do("one", hole(session, (750, 600)))
    assert not session.saved
    session.save("one", "A. Pathologist")
    assert session.saved and not (run / ".editing" / "draft.geojson").exists()
    assert (run / "regions.geojson").read_bytes() == before
    said = json.loads((run / NAME).read_text())["wsi_idc"]
    summary = json.loads((run / "summary.json").read_text())
    assert said["slide"] == "painted.tif" and said["model"] == summary["model"]["name"]
    assert said["slide_fingerprint"] == summary["identity"]["slide_fingerprint"]
    assert said["parameters"] == summary["parameters"]
    assert said["edited"]["by"] == "A. Pathologist" and said["edited"]["from"] == "regions.geojson"
    read = read_annotations(run / NAME)
    assert read.notes == [] and [a.classification for a in read.annotations] == ["IDC"] * len(read.annotations)
    assert sum(len(p.interiors) for a in read.annotations for p in shapely.get_parts(a.geometry).tolist()) >= 2
    # Taken as it is: compared with its run, converted, cut into patches to train on.
    found = wsi_idc.compare(run, run / NAME)["slides"][0]
    area = session.area_mm2
    assert 0.9 < found["dice"] < 1 and found["truth_mm2"] == pytest.approx(area, abs=1e-4)
    assert convert_annotations(run / NAME, tmp_path / "a.geojson", slide=painted).classes == {
        "IDC": len(read.annotations)
    }
    # Beside a run it is no fault of it.
    desk.leave("one")
    assert verify_run(run).faults == [] and NAME in verify_run(run).extra
    again = desk.begin(run, "two")
    assert again.begun_with == NAME and again.area_mm2 == pytest.approx(area)
    desk.close()
    assert not (run / ".editing").exists()


def test_patches_are_cut_by_what_is_saved(run, painted, tmp_path):
    from wsi_idc.data.cut import cut_patches

    desk = Desk()
    desk.begin(run, "one").save("one", "")
    desk.close()
    cut = cut_patches(painted, run / NAME, tmp_path / "patches", wsi_idc.find_model())
    assert cut.idc > 0 and cut.not_idc > 0


def test_what_is_not_saved_is_there_again(run):
    desk = Desk()
    session = desk.begin(run, "one")
    changed = session.do("one", hole(session, (750, 600))).outlines
    area = sum(o.geometry.area for o in changed)
    # A window that is closed leaves it to the next one, a viewer that ends to the next one too.
    desk.leave("one")
    assert desk.begin(run, "two").history.now.outlines == changed
    desk.close()
    later = Desk()
    session = later.begin(run, "three")
    assert not session.saved and sum(o.geometry.area for o in session.history.now.outlines) == area
    session.save("three", "me")
    session.move("three", History.undo)
    later.close()
    assert read_annotations(run / NAME).annotations


def test_a_second_editor_is_told(run):
    desk = Desk()
    session = desk.begin(run, "one")
    with pytest.raises(HeldError, match=r"run: is being edited in another window; end it there, or take it over"):
        desk.begin(run, "two")
    assert desk.begin(run, "two", take_over=True) is session
    for late in (
        lambda: session.do("one", lambda o: edits.delete(o, [o[0].id])),
        lambda: session.save("one", ""),
        lambda: session.choose("one", ()),
        lambda: session.move("one", History.undo),
    ):
        with pytest.raises(HeldError, match="another window has taken over"):
            late()
    code = (
        "import sys; from pathlib import Path; from wsi_idc.viewer.desk import Desk\n"
        "try: Desk().begin(Path(sys.argv[1]), 'x')\nexcept Exception as e: print(type(e).__name__, e)"
    )
    done = subprocess.run([sys.executable, "-c", code, run], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"HeldError {run}: is being edited by another viewer; only look, or end it there")
    desk.close()


def test_what_cannot_be_begun_is_said_and_lets_go(run, made):
    theirs = json.loads((run / "regions.geojson").read_text())
    own = dict(theirs["wsi_idc"])
    theirs["wsi_idc"] |= {"slide_fingerprint": "0" * 64, "slide": "theirs.svs"}
    (run / NAME).write_text(json.dumps(theirs))
    desk = Desk()
    with pytest.raises(DataError, match=r"regions-edited\.geojson: is of another slide \(theirs\.svs\) than .*run"):
        desk.begin(run, "one")
    theirs["wsi_idc"] |= {"slide_fingerprint": own["slide_fingerprint"], "model_sha256": "0" * 64, "model": "other"}
    (run / NAME).write_text(json.dumps(theirs))
    with pytest.raises(
        DataError, match=r"is of a run by other, and .*run is by idc-.* now; move it away to begin anew"
    ):
        desk.begin(run, "one")
    theirs["wsi_idc"] = own | {"parameters": own["parameters"] | {"mpp": 0.4}}
    (run / NAME).write_text(json.dumps(theirs))
    with pytest.raises(DataError, match=r"is of a run with mpp 0\.4, and .*run has mpp not given now; move it away"):
        desk.begin(run, "one")
    (run / NAME).write_text("no JSON")
    with pytest.raises(DataError, match="neither JSON nor XML"):
        desk.begin(run, "one")
    (run / NAME).unlink()
    session = desk.begin(run, "one")
    (run / NAME).mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        session.save("one", "")
    desk.close()


def test_the_outlines_of_a_threshold_are_taken(run, painted):
    desk = Desk()
    session = desk.begin(run, "one")
    with opened(run, painted) as found:
        session.do("one", lambda _: edits.beginning(found.annotations(0.6)))
        assert session.area_mm2 == pytest.approx(found.regions(0.6)["numbers"]["idc_mm2"], abs=1e-3)
    session.move("one", History.undo)
    desk.close()


@pytest.mark.parametrize("said", [True, False])
def test_what_is_saved_says_of_itself_what_it_was_begun_with(run, said):
    """Outlines of another threshold stay those; of outlines that say nothing no model is known."""
    begun = json.loads((run / "regions.geojson").read_text())
    own = begun.pop("wsi_idc")
    if said:
        begun["wsi_idc"] = own | {"parameters": own["parameters"] | {"threshold": 0.6}}
    (run / NAME).write_text(json.dumps(begun))
    session = Desk().begin(run, "one")
    session.save("one", "me")
    saved = json.loads((run / NAME).read_text())["wsi_idc"]
    assert saved.pop("edited")["from"] == NAME
    assert saved == (begun["wsi_idc"] if said else {key: own[key] for key in ("slide", "slide_fingerprint")})
