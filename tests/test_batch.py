import csv
import shutil

import pytest

import wsi_idc
from wsi_idc.batch import segment_slides
from wsi_idc.errors import ModelError, SlideError


def rows(manifest):
    with manifest.open(newline="") as stream:
        return list(csv.DictReader(stream))


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
