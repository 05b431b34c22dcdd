import csv
import shutil

import pytest

import wsi_idc
from wsi_idc.batch import Manifest, find_slides, output_names, segment_slides
from wsi_idc.errors import DataError, ModelError, OutputError, SlideError


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def rows(manifest):
    with manifest.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_folders_files_and_patterns(tmp_path):
    a, b, c, other = (tmp_path / n for n in ("a.svs", "b.TIFF", "c.ndpi", "notes.txt"))
    dicom = [tmp_path / "series" / n for n in ("1.dcm", "2.dcm")]
    deep = tmp_path / "folder" / "deep.svs"
    touch(a, b, c, other, deep, *dicom)
    assert find_slides([tmp_path]) == [a, b, c, tmp_path / "series"]
    assert find_slides([dicom[0].parent]) == [dicom[0].parent]
    assert find_slides([tmp_path / "*.svs", c, a]) == [a, c]
    assert find_slides([other]) == [other], "named by the user: the reader will say what is wrong with it"
    assert find_slides([tmp_path / "missing.svs"]) == [tmp_path / "missing.svs"]


def test_a_file_whose_name_looks_like_a_pattern(tmp_path):
    odd = tmp_path / "slide [1].svs"
    touch(odd, tmp_path / "slide 1.svs")
    assert find_slides([odd]) == [odd]


@pytest.mark.parametrize("name", ["", "nothing/*.svs"])
def test_an_input_without_slides(tmp_path, name):
    touch(tmp_path / "notes.txt")
    (tmp_path / "nothing").mkdir()
    if name:
        assert find_slides([tmp_path / name]) == [tmp_path / name]
    else:
        with pytest.raises(DataError, match="no slides there"):
            find_slides([tmp_path])


def test_slides_of_one_name_get_folders_of_their_own(tmp_path):
    slides = [tmp_path / "a" / "1.svs", tmp_path / "b" / "1.svs", tmp_path / "b" / "2.svs"]
    names = output_names(slides)
    assert names[2] == "2"
    assert len(set(names)) == 3
    assert all(n.startswith("1-") for n in names[:2])
    assert output_names(slides[::-1]) == names[::-1]


def test_a_failing_slide_does_not_stop_the_others(painted, tmp_path):
    bad = tmp_path / "bad.svs"
    bad.write_text("not a slide")
    good = shutil.copy(painted, tmp_path / "good.tif")
    done = []
    out = tmp_path / "out"
    outcomes = segment_slides(
        [bad, good], out, wsi_idc.find_model(), wsi_idc.Settings(), on_done=lambda s, o: done.append((s, o))
    )
    assert isinstance(outcomes[bad], SlideError)
    assert outcomes[good].summary["state"] == "done"
    assert [s for s, _ in done] == [bad, good]
    first, second = rows(out / "manifest.csv")
    assert (first["state"], second["state"]) == ("failed", "done")
    assert "bad.svs" in first["reason"]
    assert float(second["idc_mm2"]) == outcomes[good].summary["idc_mm2"]
    assert float(second["seconds"]) > 0


def test_an_unforeseen_error_is_one_slides_own(painted, tmp_path, monkeypatch):
    from wsi_idc import run

    real, calls = run.find_tissue, []

    def breaks_once(slide):
        calls.append(slide)
        if len(calls) == 1:
            raise ZeroDivisionError("nobody thought of this")
        return real(slide)

    monkeypatch.setattr(run, "find_tissue", breaks_once)
    slides = [shutil.copy(painted, tmp_path / f"{n}.tif") for n in "12"]
    outcomes = segment_slides(slides, tmp_path / "out", wsi_idc.find_model(), wsi_idc.Settings())
    assert "1.tif: ZeroDivisionError: nobody thought of this" in str(outcomes[slides[0]])
    assert outcomes[slides[1]].summary["state"] == "done"


def test_a_damaged_model_stops_the_batch(painted, tmp_path):
    model = shutil.copytree(wsi_idc.find_model().folder, tmp_path / "model")
    (model / "encoder.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match="sha256"):
        segment_slides([painted], tmp_path / "out", wsi_idc.find_model(model), wsi_idc.Settings())


def test_manifest_keeps_the_rows_of_earlier_runs(painted, tmp_path):
    package, settings = wsi_idc.find_model(), wsi_idc.Settings()
    one, two = (shutil.copy(painted, tmp_path / f"{n}.tif") for n in "12")
    segment_slides([one], tmp_path / "out", package, settings)
    segment_slides([two], tmp_path / "out", package, settings)
    assert [r["slide"] for r in rows(tmp_path / "out" / "manifest.csv")] == [str(one), str(two)]


def test_a_foreign_manifest_is_not_overwritten(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_text("my,own,table\n1,2,3\n")
    with pytest.raises(OutputError, match="not a manifest"):
        Manifest(path)
    assert path.read_text() == "my,own,table\n1,2,3\n"
