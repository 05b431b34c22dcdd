import json
import shutil

import numpy as np
import pytest
from PIL import Image

import wsi_idc
from wsi_idc.demo.painter import paint_section
from wsi_idc.errors import DataError, HeldError, SettingsError
from wsi_idc.grading import worksheet as steps
from wsi_idc.grading.fields import Wish
from wsi_idc.grading.record import read_record
from wsi_idc.grading.report import write_fields
from wsi_idc.runs.upkeep.verify import verify_run
from wsi_idc.slides.slide import Slide
from wsi_idc.slides.write import write_slide
from wsi_idc.viewer.worksheet.sitting import Bench, folder_of


@pytest.fixture(scope="module")
def fine(tmp_path_factory):
    """A painted section as it were scanned at 0.25 um/px."""
    small = Image.fromarray(paint_section(1.6, 1.3, 2.0, seed=1).pixels)
    pixels = np.asarray(small.resize((small.width * 8, small.height * 8), Image.Resampling.BICUBIC))
    return write_slide(tmp_path_factory.mktemp("fine") / "fine.tif", pixels, 0.25)


@pytest.fixture(scope="module")
def made(fine, tmp_path_factory):
    run = wsi_idc.segment(fine, tmp_path_factory.mktemp("graded"), threshold=0.02).folder
    write_fields(run, run / "fields", Wish(number=4, area_mm2=0.02), fine)
    return run


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


@pytest.fixture
def slide(fine):
    with Slide(fine) as opened:
        yield opened


def marked(sitting, slide):
    one = sitting.now.of(1)
    sitting.do("one", lambda s: steps.mark(s, 1, one.x + 10, one.y + 10))
    return sitting.do("one", lambda s: steps.set_state(s, 1, "counted"))


def test_the_fields_are_those_that_were_chosen_and_nothing_is_judged(run, slide):
    sheet = Bench().begin(run, slide, "A. Observer", "one").now
    rows = (run / "fields" / "fields.csv").read_text().splitlines()[1:]
    assert [[f.x, f.y, f.width, f.height] for f in sheet.fields] == [[*map(int, r.split(",")[1:5])] for r in rows]
    assert {(f.state, f.marks) for f in sheet.fields} == {("open", ())}
    assert sheet.fields[0].area_mm2 == pytest.approx(0.02, rel=0.01)
    assert sheet.basis.model == json.loads((run / "summary.json").read_text())["model"]["name"]


def test_what_is_saved_lies_beside_the_run_and_over_nothing(run, slide):
    bench = Bench()
    sitting = bench.begin(run, slide, "A. Observer", "one")
    marked(sitting, slide)
    assert not sitting.is_saved
    first = sitting.save("one", slide)
    assert sitting.is_saved and first.parent == folder_of(run, "A. Observer")
    sitting.do("one", lambda s: steps.judge(s, tubules=2))
    second = sitting.save("one", slide)
    assert read_record(first).sheet.tubules is None and read_record(second).sheet.tubules == 2
    assert read_record(second).observer == "A. Observer"
    assert verify_run(run).state == "whole"
    bench.close()
    # Another day it goes on from there.
    again = Bench().begin(run, slide, "A. Observer", "one")
    assert again.now == read_record(second).sheet and again.is_saved


def test_what_is_not_saved_is_there_again(run, slide):
    bench = Bench()
    sheet = marked(bench.begin(run, slide, "A", "one"), slide)
    bench.leave("one")
    again = bench.begin(run, slide, "A", "two")
    assert again.now == sheet and not again.is_saved
    # Another observer sees nothing of it.
    assert bench.begin(run, slide, "B", "three").now.of(1).marks == ()


def test_undo_and_redo_go_through_every_step(run, slide):
    sitting = Bench().begin(run, slide, "A", "one")
    empty, full = sitting.now, marked(sitting, slide)
    sitting.undo("one")
    assert sitting.undo("one") == empty == sitting.undo("one")
    sitting.redo("one")
    assert sitting.redo("one") == full == sitting.redo("one")
    with pytest.raises(DataError):
        sitting.do("one", lambda s: steps.mark(s, 1, -5, -5))
    assert sitting.now == full


def test_one_window_at_a_time(run, slide):
    bench = Bench()
    sitting = bench.begin(run, slide, "A", "one")
    with pytest.raises(HeldError, match="in another window"):
        bench.begin(run, slide, "A", "two")
    assert bench.begin(run, slide, "A", "two", take_over=True) is sitting
    with pytest.raises(HeldError, match="has taken over"):
        marked(sitting, slide)
    with pytest.raises(HeldError, match="in another viewer"):
        Bench().begin(run, slide, "A", "one")


def test_nuclei_are_measured_beside_it_and_are_no_step(run, slide):
    sitting = Bench().begin(run, slide, "A", "one")
    found = sitting.measure(slide, 1).of(1).nuclei
    assert found.count > 10 and 5 < found.area_um2[1] < 200
    assert sitting.at == 0 and sitting.is_saved is False
    moved = sitting.do("one", lambda s: steps.move(s, 1, 300, 300))
    assert moved.of(1).nuclei is None
    assert sitting.undo("one").of(1).nuclei == found


def test_the_next_best_field_takes_the_place_of_a_refused_one(run, slide):
    sitting = Bench().begin(run, slide, "A", "one")
    sheet = sitting.replace("one", slide, 2)
    assert [f.state for f in sheet.fields] == ["open", "refused", "open", "open", "open"]
    new = sheet.of(5)
    assert (new.came, new.width, new.height) == ("replaced", sheet.of(1).width, sheet.of(1).height)
    assert not any(new.overlaps(f) for f in sheet.fields[:4])
    # It is what wsi-idc fields would have had next.
    write_fields(run, run / "five", Wish(number=5, area_mm2=0.02), slide.path)
    last = (run / "five" / "fields.csv").read_text().splitlines()[-1]
    assert [new.x, new.y] == [*map(int, last.split(",")[1:3])]


@pytest.mark.parametrize(("name", "plain"), [("ada", True), ("../../etc", False), ("É. Ada", False), ("a b", False)])
def test_names_of_observers_never_become_paths(run, name, plain):
    folder = folder_of(run, name)
    assert folder.parent == run / "worksheets" and folder.name.isascii()
    assert (folder.name == name) == plain
    with pytest.raises(SettingsError):
        folder_of(run, "  ")


def test_a_name_written_in_several_ways_is_one_observer(run):
    assert folder_of(run, "Anna") == folder_of(run, " anna ") and folder_of(run, "Anna").name == "anna"
    assert folder_of(run, "Zoë B.") == folder_of(run, "ZOE\u0308  B.") != folder_of(run, "Zoe B.")
    # What was saved by the name as it was given is gone on with.
    (run / "worksheets" / "Bob").mkdir(parents=True)
    assert folder_of(run, "Bob").name == "Bob"
    shutil.rmtree(run / "worksheets")


def test_names_that_look_alike_as_folders_are_two_observers(run):
    assert folder_of(run, "A.B") != folder_of(run, "A B") != folder_of(run, "A-B")


def test_what_was_made_of_a_run_is_not_taken_for_that_of_the_one_that_replaced_it(fine, tmp_path):
    """The scale is corrected: fields of another area, and mitoses that are now told to be too coarse to be seen."""
    run = wsi_idc.segment(fine, tmp_path, threshold=0.02).folder
    write_fields(run, run / "fields", Wish(number=2, area_mm2=0.02), fine)
    with Slide(fine) as slide:
        before = Bench()
        sitting = before.begin(run, slide, "Ada", "one")
        marked(sitting, slide)
        sitting.save("one", slide)
        before.close()
    wsi_idc.segment(fine, tmp_path, threshold=0.02, mpp=0.5, overwrite=True)
    with Slide(fine, 0.5) as slide:
        with pytest.raises(DataError, match=r"fields: is of a run with mpp not given, and .* has mpp 0.5 now; move it"):
            Bench().begin(run, slide, "Ada", "one")
        write_fields(run, run / "fields", Wish(number=2, area_mm2=0.02), fine, overwrite=True)
        with pytest.raises(DataError, match=r"ada.*: is of another scale, 0.25 x 0.25 um/px, than .*; move it away"):
            Bench().begin(run, slide, "Ada", "one")
        assert Bench().begin(run, slide, "Bert", "one").now.basis.why_not_countable


def test_a_worksheet_of_another_model_is_not_gone_on_with(run, slide):
    bench = Bench()
    marked(bench.begin(run, slide, "Ada", "one"), slide)
    bench.close()
    draft = folder_of(run, "Ada") / "draft.json"
    document = json.loads(draft.read_text())
    document["run"] |= {"model": "theirs", "model_sha256": "0" * 64}
    draft.write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"draft\.json: is of another model, theirs, than .* is now"):
        Bench().begin(run, slide, "Ada", "one")


def test_fields_of_another_slide_or_none_are_refused(run, slide):
    file = run / "fields" / "fields.geojson"
    document = json.loads(file.read_text())
    document["wsi_idc"]["slide_fingerprint"] = "another"
    file.write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"fields: is of another slide .*; move it away to begin anew"):
        Bench().begin(run, slide, "A", "one")
    del document["wsi_idc"]
    file.write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"does not say of which slide .* wsi-idc fields .* again"):
        Bench().begin(run, slide, "A", "one")
    file.unlink()
    with pytest.raises(DataError, match=r"no fields were chosen yet; run wsi-idc fields"):
        Bench().begin(run, slide, "A", "one")
    assert not (run / "worksheets").exists()
