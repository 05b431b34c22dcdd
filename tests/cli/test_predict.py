"""`wsi-idc predict`, and models of one's own that predict."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from wsi_idc.cli.group import main
from wsi_idc.models.registry import SHIPPED, find_model


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def patch(tmp_path, section):
    path = tmp_path / "patch.png"
    Image.fromarray(section.pixels[200:250, 300:350]).save(path)
    return path


def test_predict_in_three_forms(patch):
    rows = json.loads(run("predict", patch, "--json").stdout)
    assert rows == [
        {
            "image": str(patch),
            "probability": rows[0]["max_probability"],
            "max_probability": rows[0]["max_probability"],
            "idc": rows[0]["probability"] >= find_model().threshold,
            "patches": 1,
            "mpp": None,
        }
    ]
    (row,) = csv.DictReader(io.StringIO(run("predict", patch, "--csv").stdout))
    assert float(row["probability"]) == rows[0]["probability"]
    assert f"{rows[0]['probability']:.4f}" in run("predict", patch).stdout


def test_predict_cuts_larger_images_and_reports_unreadable_ones(tmp_path, section):
    pixels = section.pixels[200:320, 300:390]
    Image.fromarray(pixels).save(tmp_path / "large.png")
    padded = np.full((150, 100, 3), 255, np.uint8)
    padded[:120, :90] = pixels
    names = []
    for r in range(3):
        for c in range(2):
            names.append(tmp_path / f"{r}{c}.png")
            Image.fromarray(padded[r * 50 : r * 50 + 50, c * 50 : c * 50 + 50]).save(names[-1])
    (tmp_path / "text.png").write_text("text")
    images = (tmp_path / "large.png", *names, tmp_path / "text.png", tmp_path / "gone.png")
    done = run("predict", "--json", "--model", "idc-patch", *images)
    assert done.exit_code == 1
    large, *parts = json.loads(done.stdout)
    # 120 x 90 pixels: the third row of patches is covered by 20 of 50 pixels only, and does not count.
    assert large["patches"] == 4
    assert large["probability"] == pytest.approx(np.mean([p["probability"] for p in parts[:4]]), abs=1e-5)
    assert large["max_probability"] == max(p["probability"] for p in parts[:4])
    note, *errors = done.stderr.splitlines()
    assert note == f"note: {tmp_path / 'large.png'} of several patches without a scale: pixels count as 4 um"
    assert [line.split(": ")[2] for line in errors] == [
        "not an image that Pillow can read",
        "no such file",
    ]


@pytest.mark.parametrize("size", [(51, 51), (51, 50), (50, 74), (60, 60)])
def test_a_sliver_beyond_a_patch_does_not_change_its_probability(tmp_path, section, size):
    whole = section.pixels[200:300, 300:400]
    for name, (height, width) in {"patch": (50, 50), "more": size}.items():
        Image.fromarray(whole[:height, :width]).save(tmp_path / f"{name}.png")
    patch, more = json.loads(run("predict", "--json", tmp_path / "patch.png", tmp_path / "more.png").stdout)
    assert more == patch | {"image": more["image"]}


def test_transparent_pixels_are_white_and_grey_images_refused(tmp_path, section):
    pixels = section.pixels[200:250, 300:350].copy()
    alpha = np.full((50, 50, 1), 255, np.uint8)
    alpha[25:] = 0
    Image.fromarray(np.concatenate([pixels, alpha], axis=2)).save(tmp_path / "clear.png")
    pixels[25:] = 255
    Image.fromarray(pixels).save(tmp_path / "white.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(tmp_path / "grey16.png")
    names = ("clear", "white", "grey", "grey16")
    done = run("predict", "--json", *(tmp_path / f"{n}.png" for n in names))
    clear, white = json.loads(done.stdout)
    assert clear["probability"] == white["probability"]
    assert [line.endswith("not 8-bit colour; export it as RGB") for line in done.stderr.splitlines()] == [True, True]


def test_models_list_and_show():
    assert "idc-patch" in run("models", "list").stdout
    assert json.loads(run("models", "list", "--json").stdout)[0]["mpp"] == 4.0
    assert json.loads(run("models", "show", "idc-patch", "--json").stdout)["halo"] == 0
    unknown = run("models", "show", "nothing")
    assert unknown.exit_code == 2 and "Invalid value for NAME: no model 'nothing'" in unknown.stderr
    card = (SHIPPED / "idc-context" / "MODEL_CARD.md").read_text()
    assert run("models", "show", "idc-context").stdout.endswith(f"\n\n{card.rstrip()}\n")
    assert "{" not in run("models", "show", "idc-patch").stdout, "numbers are in the card, in words"


def test_models_are_added_to_ones_own(tmp_path, monkeypatch, patch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr("wsi_idc.models.registry.user_models", lambda: tmp_path / "data" / "models")
    source = tmp_path / "downloads" / "v2"
    shutil.copytree(SHIPPED / "idc-patch", source)
    facts = json.loads((source / "model.json").read_text())
    (source / "notes.txt").write_text("mine")
    shown = run("models", "add", source)
    assert shown.exit_code == 1 and "a model of that name ships; --overwrite hides it by this one" in shown.stderr
    (source / "model.json").write_text(json.dumps(facts | {"name": "mine"}))
    added = run("models", "add", source)
    place = tmp_path / "data" / "models" / "mine"
    assert (added.exit_code, added.stdout) == (0, f"{place}: --model mine\n"), added.output
    assert {p.name for p in place.iterdir()} == {p.name for p in source.iterdir()} - {"notes.txt"}
    assert run("predict", patch, "--model", "mine").exit_code == 0
    again = run("models", "add", source)
    assert again.exit_code == 1 and "is there already; choose another name or give --overwrite" in again.stderr
    assert run("models", "add", source, "--overwrite").exit_code == 0
    (source / "encoder.onnx").write_bytes(b"damaged")
    broken = run("models", "add", source, "--overwrite")
    assert broken.exit_code == 1 and "its sha256 is not the one" in broken.stderr
    assert run("predict", patch, "--model", "mine").exit_code == 0, "what was there is still whole"
    assert [p.name for p in place.parent.iterdir()] == ["mine"]
