import csv
import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from wsi_idc.errors import DataError, DivergedError, ModelError, OutputError
from wsi_idc.training import tune as tuning
from wsi_idc.training.config import read_config
from wsi_idc.training.package import package_run
from wsi_idc.training.run import Hooks
from wsi_idc.training.tune import DEFAULT_SPACE, read_space, tune

from helpers import SMALL

pytestmark = pytest.mark.usefixtures("few_resamples")
BASE = read_config(None, [*SMALL, "fit.epochs=1"])
SPACE = {
    "optimizer.learning_rate": {"low": 1e-3, "high": 1e-1, "log": True},
    "model.options.dropout": {"low": 0, "high": 0.5},
    "fit.batch_size": {"choices": [8, 16]},
    "augment.symmetries": {"choices": [True, False]},
}


@pytest.fixture(scope="module")
def searched(few_resamples, patches, tmp_path_factory):
    """The folder of a search with real trainings, the best configuration, and what was said meanwhile."""
    folder, said = tmp_path_factory.mktemp("search"), []
    best = tune(patches, BASE, SPACE, folder, trials=3, hooks=Hooks(on_trial=lambda *v: said.append(v)))
    return folder, best, said


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """In place of trainings, a known AUC: the better, the nearer the learning rate is to 0.01 and the longer it is."""
    seen = []

    def known(_data, config, run, *_):
        seen.append((run.name, config))
        auc = 1 - abs(config.optimizer.learning_rate - 0.01) - 0.01 / (1 + config.fit.epochs)
        return {"metrics": {"val": {"auc": {"value": auc}}}}

    monkeypatch.setattr(tuning, "train", known)
    monkeypatch.setattr(tuning, "draw_panels", lambda *_, **__: None)
    monkeypatch.setattr(tuning.keras.utils, "clear_session", lambda: None)
    return seen


def results(folder):
    with (folder / "results.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def without_options(config):
    return {k: v for k, v in config.model_dump().items() if k not in ("augment", "optimizer", "model", "fit")}


def test_a_search_with_real_trainings(searched):
    folder, best, said = searched
    assert [name for name, _ in said] == ["0", "1", "2"]
    assert read_config(folder / "best.toml") == best
    rows = results(folder)
    assert list(rows[0]) == ["trial", "val_auc", *SPACE]
    scores = [float(r["val_auc"]) for r in rows]
    assert scores == sorted(scores, reverse=True)
    assert sorted((r["trial"], float(r["val_auc"])) for r in rows) == sorted(said)
    # What was trained is what the table and the best configuration say.
    for row in rows:
        held = read_config(folder / "trials" / row["trial"] / "config.toml")
        result = json.loads((folder / "trials" / row["trial"] / "run.json").read_text())
        assert result["metrics"]["val"]["auc"]["value"] == float(row["val_auc"])
        assert held.optimizer.learning_rate == float(row["optimizer.learning_rate"])
        assert held.fit.batch_size == int(row["fit.batch_size"])
        assert str(held.augment.symmetries) == row["augment.symmetries"]
        assert without_options(held) == without_options(BASE)
    assert best == read_config(folder / "trials" / rows[0]["trial"] / "config.toml")
    assert (folder / "results.png").stat().st_size > 10_000
    assert (folder / "results.svg").exists()


def test_interrupted_it_goes_on_and_ends_as_if_it_had_not_been(patches, tmp_path, searched, monkeypatch):
    whole, best, said = searched
    real, trained, again = tuning.train, [], []

    def interrupted(data, config, run, hooks):
        if trained == ["0"]:
            # In the middle of the second trial: between its epochs.
            trained.append("half")
            real(data, config, run, Hooks(on_epoch=interrupt))
        trained.append(run.name)
        return real(data, config, run)

    def interrupt(_history):
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune(patches, BASE, SPACE, tmp_path, trials=3)
    assert tune(patches, BASE, SPACE, tmp_path, trials=3, hooks=Hooks(on_trial=lambda *v: again.append(v))) == best
    assert trained == ["0", "half", "1", "2"], "what was done is not done again"
    assert again == said[1:]
    assert (tmp_path / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
    assert tune(patches, BASE, SPACE, tmp_path, trials=3) == best
    assert len(trained) == 4


@pytest.mark.parametrize("method", ["random", "bayesian"])
def test_the_best_is_the_best_of_all_that_were_tried(patches, tmp_path, quick, method):
    space = {"optimizer.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}}
    best = tune(patches, BASE, space, tmp_path / "search", method=method, trials=5)
    assert len(quick) == 5
    assert len({config.optimizer.learning_rate for _, config in quick}) == 5, "no configuration twice"
    nearest = min((config for _, config in quick), key=lambda c: abs(c.optimizer.learning_rate - 0.01))
    assert best == nearest
    # A search may be made longer.
    tune(patches, BASE, space, tmp_path / "search", method=method, trials=6)
    assert [name for name, _ in quick] == list("012345")


def test_another_seed_is_another_search(patches, tmp_path, quick):
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        tune(patches, BASE, SPACE, tmp_path / name, trials=2, seed=seed)
    first, again, other = (quick[n : n + 2] for n in (0, 2, 4))
    assert first == again
    assert first != other


@pytest.mark.parametrize("method", ["random", "bayesian", "hyperband"])
@pytest.mark.parametrize("cut", ["oracle.json", "trial_*1/trial.json", "trial_*0/trial.json away"])
def test_a_file_that_was_cut_short_loses_no_trial(patches, tmp_path, quick, method, cut):
    base, folder = read_config(None, [*SMALL, "fit.epochs=3"]), tmp_path / "search"
    best = tune(patches, base, SPACE, folder, method=method, trials=3)
    before, asked = (folder / "results.csv").read_bytes(), list(quick)
    (file,) = (folder / "search").glob(cut.removesuffix(" away"))
    if cut.endswith("away"):
        file.unlink()
    else:
        os.truncate(file, file.stat().st_size // 2)
    assert tune(patches, base, SPACE, folder, method=method, trials=3) == best
    # Each again, of which a training that is done is read: nothing else is asked for.
    assert quick == 2 * asked
    assert (folder / "results.csv").read_bytes() == before


def test_hyperband_gives_many_epochs_to_few(patches, tmp_path, quick):
    base = read_config(None, [*SMALL, "fit.epochs=3"])
    best = tune(patches, base, SPACE, tmp_path / "search", method="hyperband")
    epochs = [config.fit.epochs for _, config in quick]
    # Two brackets: three of one epoch, of which the best goes on to three; and two of three at once.
    assert epochs == [1, 1, 1, 3, 3, 3]
    start = max((config for _, config in quick[:3]), key=lambda c: -abs(c.optimizer.learning_rate - 0.01))
    assert quick[3][1].optimizer == start.optimizer
    rows = results(tmp_path / "search")
    assert len(rows) == 6
    assert list(rows[0]) == ["trial", "val_auc", *SPACE, "tuner/epochs"]
    assert rows[0]["tuner/epochs"] == "3"
    assert best.fit.epochs == 3
    assert best.optimizer.learning_rate == float(rows[0]["optimizer.learning_rate"])


def test_hyperband_interrupted_goes_on(patches, tmp_path, quick, monkeypatch):
    base, known = read_config(None, [*SMALL, "fit.epochs=3"]), tuning.train
    whole = tune(patches, base, SPACE, tmp_path / "whole", method="hyperband")
    expected = list(quick)
    quick.clear()
    for stop in range(6):

        def interrupted(*arguments, stop=stop):
            if len(quick) == stop:
                raise KeyboardInterrupt
            return known(*arguments)

        monkeypatch.setattr(tuning, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tune(patches, base, SPACE, tmp_path / "parts", method="hyperband")
    monkeypatch.setattr(tuning, "train", known)
    assert tune(patches, base, SPACE, tmp_path / "parts", method="hyperband") == whole
    assert quick == expected


def test_epochs_may_be_searched_but_not_by_hyperband(patches, tmp_path, quick):
    space = {"fit.epochs": {"low": 2, "high": 9}}
    best = tune(patches, BASE, space, tmp_path / "search", trials=4)
    assert best.fit.epochs == max(config.fit.epochs for _, config in quick) > BASE.fit.epochs
    with pytest.raises(DataError, match="not in the space"):
        tune(patches, BASE, space, tmp_path / "hyperband", method="hyperband")
    with pytest.raises(DataError, match="1 or more"):
        tune(patches, read_config(None, ["fit.epochs=0"]), SPACE, tmp_path / "hyperband", method="hyperband")
    assert not (tmp_path / "hyperband").exists()


def test_ends_of_whole_numbers_are_a_range_of_fractions_where_the_key_is_one(patches, tmp_path, quick):
    space = {"loss.gamma": {"low": 0, "high": 2}, "fit.seed": {"low": 0, "high": 1000}}
    tune(patches, BASE, space, tmp_path / "search", trials=4)
    assert any(config.loss.gamma % 1 for _, config in quick)
    assert all(isinstance(config.fit.seed, int) for _, config in quick)
    assert len({config.fit.seed for _, config in quick}) > 1


def test_trials_that_diverge_are_left_out(patches, tmp_path, quick, monkeypatch):
    def some(_data, config, run, *_):
        if int(run.name) < 5:
            raise DivergedError("astray")
        return {"metrics": {"val": {"auc": {"value": 0.5 + int(run.name) / 100}}}}

    monkeypatch.setattr(tuning, "train", some)
    tune(patches, BASE, SPACE, tmp_path / "search", trials=7)
    assert [r["trial"] for r in results(tmp_path / "search")] == ["6", "5"]
    with pytest.raises(DataError, match="none of 4 trials came to its end"):
        tune(patches, BASE, SPACE, tmp_path / "other", trials=4)


def test_an_error_that_is_of_no_trial_ends_the_search_and_the_next_goes_on(patches, tmp_path, quick, monkeypatch):
    known = tuning.train

    def failing(data, config, run, *rest):
        if run.name == "1":
            raise ModelError("cannot be built")
        return known(data, config, run, *rest)

    monkeypatch.setattr(tuning, "train", failing)
    with pytest.raises(ModelError, match="cannot be built"):
        tune(patches, BASE, SPACE, tmp_path / "search", trials=3)
    monkeypatch.setattr(tuning, "train", known)
    tune(patches, BASE, SPACE, tmp_path / "search", trials=3)
    assert [name for name, _ in quick] == ["0", "1", "2"]


def test_another_search_or_something_else_in_the_folder_is_refused(patches, tmp_path, quick):
    folder = tmp_path / "search"
    tune(patches, BASE, SPACE, folder, trials=2)
    other = SPACE | {"fit.batch_size": {"choices": [8]}}
    for arguments in (
        {"space": other},
        {"base": read_config(None, [*SMALL, "fit.epochs=2"])},
        {"method": "bayesian"},
        {"seed": 1},
    ):
        given = {"base": BASE, "space": SPACE, "folder": folder, "trials": 2} | arguments
        with pytest.raises(OutputError, match="holds another search"):
            tune(patches, **given)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("Dear")
    with pytest.raises(OutputError, match=r"holds letter\.txt, which is of no search"):
        tune(patches, BASE, SPACE, tmp_path / "full")
    with tuning.locked(folder), pytest.raises(OutputError, match=r"another wsi-idc .* is writing there"):
        tune(patches, BASE, SPACE, folder, trials=2)


def test_other_patches_or_weights_are_another_search(patches, tmp_path, quick, trained):
    """Once a table had the trials of two sets of patches side by side."""
    data, folder = shutil.copytree(patches, tmp_path / "data"), tmp_path / "search"
    model = package_run(trained, tmp_path / "model").folder
    space = {"fit.seed": {"low": 1, "high": 99}, "model.init": {"choices": [str(model)]}}
    base = read_config(None, ["fit.epochs=1"])
    tune(data, base, space, folder, trials=2)
    before = (folder / "results.csv").read_bytes()
    # A copy of the same patches is the same data.
    tune(shutil.copytree(data, tmp_path / "copy"), base, space, folder, trials=2)
    patch = next((data / "8865" / "0").iterdir())
    content = patch.read_bytes()
    Image.new("RGB", (16, 16), "pink").save(patch)
    with pytest.raises(OutputError, match=r"holds another search \(patches, .*choose another -o"):
        tune(data, base, space, folder, trials=3)
    patch.write_bytes(content)
    (model / "model.json").write_text((model / "model.json").read_text().replace('"1.0.0"', '"1.0.1"'))
    with pytest.raises(OutputError, match="holds another search"):
        tune(data, base, space, folder, trials=3)
    assert len(quick) == 2
    assert (folder / "results.csv").read_bytes() == before


def test_nothing_is_printed(patches, tmp_path, quick, capsys):
    for trials in (1, 2):
        tune(patches, BASE, SPACE, tmp_path / "search", trials=trials)
    assert capsys.readouterr().out == ""


def test_networks_that_are_compiled_one_after_another_are_no_warning():
    """In a process of its own: TensorFlow says it of the fifth, and pytest takes its loggers."""
    code = (
        "import wsi_idc.training, keras, numpy as np\n"
        "for n in range(8):\n"
        "    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])\n"
        "    model.predict_on_batch(np.zeros((1, 2)))\n"
        "import logging; logging.getLogger('tensorflow').warning('something else')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "WARNING:tensorflow:something else" in done.stderr
    assert "retracing" not in done.stderr


@pytest.mark.parametrize(
    ("space", "fault"),
    [
        ({"fit.epoch": {"low": 1, "high": 2}}, r"fit\.epoch: no such key"),
        ({"optimizer.learning_rate": {"low": 0, "high": 1}}, r"optimizer\.learning_rate: .* greater than 0"),
        ({"augment.zoom": {"low": 0, "high": 1.5}}, r"augment\.zoom: .* less than 1"),
        ({"fit.epochs": {"low": 1, "high": 2.5}}, r"fit\.epochs: .* valid integer"),
        ({"optimizer.kind": {"choices": ["sgd", "adam"]}}, r"optimizer\.kind: "),
        ({"fit": {"low": 1, "high": 2}}, "fit: "),
    ],
)
def test_a_space_of_other_keys_or_values_is_refused_before_anything(patches, tmp_path, quick, space, fault):
    with pytest.raises(DataError, match=fault):
        tune(patches, BASE, space, tmp_path / "search")
    assert quick == []
    assert not (tmp_path / "search").exists()


def test_spaces_from_a_file(tmp_path):
    file = tmp_path / "space.toml"
    file.write_text(
        '"optimizer.learning_rate" = { low = 1e-4, high = 1e-2, log = true }\n'
        '"model.architecture" = { choices = ["residual_cnn", "cancernet"] }\n'
    )
    assert read_space(file) == {
        "optimizer.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "model.architecture": {"choices": ["residual_cnn", "cancernet"]},
    }
    assert read_space(None) is DEFAULT_SPACE
    tuning._hyperparameters(read_config(), DEFAULT_SPACE)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "names no key to vary"),
        ("x = ", "is not TOML"),
        ("x = " + "[" * 3000, "is not TOML"),
        (f'"fit.epochs" = {{low = 1, high = {10**400}}}', "is not TOML (a whole number of more than 300 digits)"),
        ("x = 3", "x: give {low = ..., high = ..., log = true}"),
        # A key without quotes is a table in TOML.
        ("fit.epochs = { low = 1, high = 2 }", "fit: give {low = ..., high = ..., log = true} or {choices"),
        ("x = { low = 1 }", "x: give "),
        ("x = { low = 1, high = 2, step = 1 }", "x: give "),
        ("x = { low = 2, high = 1 }", "x: low is a number less than high"),
        ("x = { low = 1, high = 1 }", "x: low is a number less than high"),
        ("x = { low = 1, high = inf }", "x: low is a number less than high"),
        ('x = { low = "a", high = "b" }', "x: low is a number less than high"),
        ("x = { low = false, high = true }", "x: low is a number less than high"),
        ("x = { low = 0, high = 1, log = true }", "x: log is true or false, and true only where low is above 0"),
        ("x = { low = 1, high = 2, log = 1 }", "x: log is true or false"),
        ("x = { choices = [] }", "x: choices are "),
        ("x = { choices = 3 }", "x: choices are "),
        ('x = { choices = [1, "a"] }', "x: choices are "),
        ("x = { choices = [[1], [2]] }", "x: choices are "),
    ],
)
def test_space_files_that_are_none(tmp_path, text, fault):
    file = tmp_path / "space.toml"
    file.write_text(text)
    with pytest.raises(DataError) as caught:
        read_space(file)
    assert str(caught.value).startswith(f"{file}: {fault}")
