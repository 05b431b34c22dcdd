"""What `explain` shows is of the pixels that the model sees, and its folder appears whole or not at all."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import wsi_idc
from wsi_idc.base.pages.colours import IDC, TISSUE
from wsi_idc.cli.group import main
from wsi_idc.errors import DataError, MissingExtraError, OutputError, SettingsError
from wsi_idc.heatmap.store import read_heatmap


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def patch(tmp_path, section):
    Image.fromarray(section.pixels[200:250, 300:350]).save(tmp_path / "patch.png")
    return tmp_path / "patch.png"


def test_a_place_of_a_slide_is_the_patch_that_a_run_computes(painted, tmp_path, section):
    wsi_idc.segment(painted, tmp_path / "run", model="idc-patch")
    heatmap, _ = read_heatmap(tmp_path / "run" / "painted" / "heatmap.zarr")
    row, column = np.argwhere(np.isfinite(heatmap))[len(np.argwhere(np.isfinite(heatmap))) // 2]
    at = (column * 50 + 33.5, row * 50 + 7)
    found = wsi_idc.explain(painted, tmp_path / "out", at=[at], model="idc-patch")
    (one,) = found["patches"]
    assert (one["x"], one["y"], one["width"], one["height"]) == (column * 50, row * 50, 50, 50)
    assert one["probability"] == pytest.approx(float(heatmap[row, column]), abs=1e-4)
    assert one["picture"] == f"01-x{column * 50}-y{row * 50}.png" and (tmp_path / "out" / one["picture"]).is_file()
    cut = section.pixels[row * 50 : row * 50 + 50, column * 50 : column * 50 + 50]
    shown = np.asarray(Image.open(tmp_path / "out" / one["picture"]))
    large = np.asarray(Image.fromarray(cut).resize((250, 250), Image.Resampling.NEAREST))
    top = next(y for y in range(60, 140) if (shown[y : y + 250, 298 : 298 + 250] == large).all())
    assert top


def test_a_place_without_tissue_and_what_is_doubtful_of_a_slide_are_noted(painted, tmp_path, section):
    at = [(1, 1), (section.pixels.shape[1] - 0.5, 1)]
    done = run(
        "explain", painted, "--at", "1,1", "--at", f"{at[1][0]},1", "-o", tmp_path / "out", "--model", "idc-patch"
    )
    assert done.exit_code == 0, done.output
    assert "note: 1,1: 0% of the patch is tissue: a run computes nothing there" in done.stderr
    first, last = json.loads((tmp_path / "out" / "explain.json").read_text())["patches"]
    assert (first["tissue"], first["x"], last["x"]) == (0, 0, section.pixels.shape[1] - 50)
    from wsi_idc.slides.write import write_slide

    faint = write_slide(tmp_path / "grey.tif", section.pixels.mean(2, keepdims=True).repeat(3, 2).astype(np.uint8), 4.0)
    found = wsi_idc.explain(faint, tmp_path / "grey", at=[(325, 225)], model="idc-patch")
    assert any("H&E" in note for note in found["notes"]), found["notes"]


def test_a_patch_is_what_predict_says_of_it(patch, tmp_path):
    done = run("explain", patch, "-o", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document.pop("folder") == str(tmp_path / "out")
    assert document == json.loads((tmp_path / "out" / "explain.json").read_text())
    (row,) = wsi_idc.predict([patch])
    assert document["patches"][0]["probability"] == pytest.approx(row["probability"], abs=1e-5)
    assert "alone" in document["explained"] and document["notes"] == []
    assert [layer["name"] for layer in document["patches"][0]["layers"]] == ["block4_add", "block10_add"]


def test_without_keras_there_is_occlusion_and_a_note_but_layers_are_an_error(patch, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "keras", None)
    done = run("explain", patch, "-o", tmp_path / "out", "--model", "idc-patch", "--engine", "onnx")
    assert done.exit_code == 0, done.output
    assert "note: without Grad-CAM and feature maps: this needs" in done.stderr
    assert 'pip install ".[train]"' in done.stderr
    assert json.loads((tmp_path / "out" / "explain.json").read_text())["patches"][0]["layers"] == []
    with pytest.raises(MissingExtraError):
        wsi_idc.explain(patch, tmp_path / "again", layers=["add"], model="idc-patch")
    assert not (tmp_path / "again").exists()


def test_a_folder_is_replaced_as_a_whole_and_only_where_it_is_an_explanation(patch, tmp_path):
    out, how = tmp_path / "out", {"model": "idc-patch", "engine": "onnx", "layers": ["activation_6"]}
    wsi_idc.explain([patch, patch], out, **how)
    with pytest.raises(OutputError, match=r"out: is not empty; choose another -o or give --overwrite"):
        wsi_idc.explain(patch, out, **how)
    before = sorted(f.name for f in out.iterdir())
    with pytest.raises(DataError, match="no such file"):
        wsi_idc.explain([patch, tmp_path / "gone.png"], out, overwrite=True, **how)
    assert sorted(f.name for f in out.iterdir()) == before == ["01-patch.png", "02-patch.png", "explain.json"]
    wsi_idc.explain(patch, out, overwrite=True, **how)
    assert sorted(f.name for f in out.iterdir()) == ["01-patch.png", "explain.json"]
    (out / "mine.txt").touch()
    with pytest.raises(OutputError, match=r"holds mine\.txt, which wsi-idc explain did not write"):
        wsi_idc.explain(patch, out, overwrite=True, **how)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["out", "patch.png"]


def test_the_same_gives_the_same_bytes(patch, tmp_path):
    for name in "ab":
        wsi_idc.explain(patch, tmp_path / name, model="idc-patch", engine="onnx")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_what_cannot_be_explained_names_the_file_and_the_way_out(patch, painted, tmp_path, section):
    out = tmp_path / "out"
    Image.fromarray(section.pixels[:120, :200]).save(tmp_path / "large.png")
    for images, at, error, said in (
        ([painted], (), DataError, r"painted\.tif: is a slide of 2 levels; say which places of it with --at X,Y"),
        ([tmp_path / "large.png"], (), DataError, r"large\.png: is 200 x 120 pixels .* cut one of 50 x 50 out of it"),
        ([tmp_path], (), DataError, "is a folder that wsi-idc evaluate did not leave"),
        ([painted], [(750, 10)], DataError, r"painted\.tif: 750,10 is outside of its 750 x 600 pixels"),
        ([painted], [(-1, 10)], DataError, "is outside"),
        ([painted, patch], [(1, 1)], SettingsError, "places are those of one slide, and 2 files were given"),
    ):
        with pytest.raises(error, match=said):
            wsi_idc.explain(images, out, at=at, model="idc-patch")
    done = run("explain", patch, "-o", out, "--layer", "no", "--model", "idc-patch")
    assert done.exit_code == 2 and "has no layer 'no' with feature maps; it has conv2d" in done.output
    assert run("explain", painted, "--at", "1,x", "-o", out).exit_code == 2
    assert run("explain", patch, "-n", "3", "-o", out).exit_code == 2
    assert not out.exists()


def test_predict_draws_a_figure(patch, tmp_path, section):
    Image.fromarray(np.full((50, 50, 3), 240, np.uint8)).save(tmp_path / "glass.png")
    Image.fromarray(section.pixels[200:300, 300:400]).save(tmp_path / "four.png")
    figure = tmp_path / "figure.png"
    given = [patch, tmp_path / "glass.png", tmp_path / "four.png", "--model", "idc-patch", "--figure", figure]
    done = run("predict", *given, "--json")
    assert done.exit_code == 0 and str(figure) in done.stderr
    rows = json.loads(done.stdout)
    pixels = np.asarray(Image.open(figure))
    for number, row in enumerate(rows):
        assert (pixels[75, 24 + number * 214 : 24 + number * 214 + 180] == (IDC if row["idc"] else TISSUE)).all()
    again = run("predict", *given)
    assert again.exit_code == 1 and "figure.png: is there already" in again.stderr
    assert run("predict", *given, "--overwrite").exit_code == 0
    assert run("predict", patch, "--figure", tmp_path / "figure.jpg").exit_code == 2
    assert run("predict", *[patch] * 301, "--figure", tmp_path / "many.png").exit_code == 2
