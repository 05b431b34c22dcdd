"""What is changed while it is read leaves nothing: half of the results would be of something else."""

import os
import shutil

import pytest

import wsi_idc
from wsi_idc.comparison import report as comparison
from wsi_idc.data import cut
from wsi_idc.errors import DataError, ModelError, SlideError
from wsi_idc.models.registry import find_model
from wsi_idc.runs import run


@pytest.fixture
def slide(painted, tmp_path):
    return shutil.copy(painted, tmp_path / "slide.tif")


def touched(path):
    os.utime(path, (1, 1))


def rewritten(path):
    """Other content of the same size and time."""
    status = path.stat()
    with path.open("r+b") as stream:
        stream.seek(status.st_size // 2)
        there = stream.read(1)
        stream.seek(status.st_size // 2)
        stream.write(bytes([there[0] ^ 255]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def grown(path):
    with path.open("ab") as stream:
        stream.write(b"more")


@pytest.mark.parametrize("change", [touched, rewritten, grown, os.unlink])
def test_a_slide_that_is_changed_during_a_run(slide, tmp_path, monkeypatch, change):
    outline = run.outline

    def meanwhile(work):
        outline(work)
        change(slide)

    monkeypatch.setattr(run, "outline", meanwhile)
    with pytest.raises(SlideError, match=r"slide.tif: was changed while it was read; run again once it stays as it is"):
        wsi_idc.segment(slide, tmp_path / "out")
    assert not (tmp_path / "out" / "slide").exists()
    assert "failed" in (tmp_path / "out" / "manifest.csv").read_text()


@pytest.mark.parametrize(
    ("name", "said"), [("model.json", "was changed while it was computed with"), ("encoder.onnx", "its sha256")]
)
def test_a_model_that_is_changed_during_a_run(slide, tmp_path, monkeypatch, name, said):
    model = shutil.copytree(find_model("idc-patch").folder, tmp_path / "model")
    outline = run.outline

    def meanwhile(work):
        outline(work)
        with (model / name).open("ab") as stream:
            stream.write(b"\n")

    monkeypatch.setattr(run, "outline", meanwhile)
    with pytest.raises(ModelError, match=said):
        wsi_idc.segment(slide, tmp_path / "out", model=model)
    assert not (tmp_path / "out" / "slide").exists()


def test_outlines_that_are_changed_while_they_are_compared(slide, tmp_path, monkeypatch):
    folder = wsi_idc.segment(slide, tmp_path / "out").folder
    drawn = shutil.copy(folder / "regions.geojson", tmp_path / "drawn.geojson")
    write = comparison.write_comparison

    def meanwhile(*given):
        write(*given)
        grown(drawn)

    monkeypatch.setattr(comparison, "write_comparison", meanwhile)
    with pytest.raises(DataError, match=r"drawn.geojson: was changed while it was read"):
        wsi_idc.compare(folder, drawn, tmp_path / "agreement")
    assert not (tmp_path / "agreement").exists()


@pytest.mark.parametrize(("name", "error"), [("drawn.geojson", DataError), ("slide.tif", SlideError)])
def test_what_is_changed_while_patches_are_cut(slide, tmp_path, monkeypatch, name, error):
    folder = wsi_idc.segment(slide, tmp_path / "out").folder
    shutil.copy(folder / "regions.geojson", tmp_path / "drawn.geojson")
    write = cut._write

    def meanwhile(*given):
        write(*given)
        touched(tmp_path / name)

    monkeypatch.setattr(cut, "_write", meanwhile)
    with pytest.raises(error, match=f"{name}: was changed while it was read"):
        cut.cut_patches(slide, tmp_path / "drawn.geojson", tmp_path / "patches", find_model())
    assert not (tmp_path / "patches" / "slide").exists()


def test_a_run_that_is_changed_while_fields_are_chosen(slide, tmp_path, monkeypatch):
    from wsi_idc.grading import report

    folder = wsi_idc.segment(slide, tmp_path / "out").folder
    write = report._write_table

    def meanwhile(*given):
        write(*given)
        grown(folder / "regions.geojson")

    monkeypatch.setattr(report, "_write_table", meanwhile)
    with pytest.raises(DataError, match="was changed while it was read"):
        wsi_idc.fields(folder, tmp_path / "fields")
    assert not (tmp_path / "fields").exists()
