import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from wsi_idc.cli.group import main
from wsi_idc.training.config import read_config
from wsi_idc.training.run import train

from helpers import HEAVY, SMALL

pytestmark = pytest.mark.usefixtures("few_resamples")
HERE = Path(__file__).parent


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def settings(*given):
    return [word for value in (*SMALL, *given) for word in ("--set", value)]


@pytest.mark.parametrize("command", ["train", "tune", "models package"])
def test_help_imports_nothing_heavy(command):
    code = (
        "import sys; from wsi_idc.cli.group import main\n"
        f"try: main({[*command.split(), '--help']!r})\n"
        f"except SystemExit: sys.exit(repr(sorted({HEAVY!r} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, check=False)
    assert "--output" in done.stdout
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("command", ["train", "tune"])
def test_without_the_extra_one_line_says_how_to_get_it(tmp_path, command):
    late = "from wsi_idc.cli.group import main"
    code = f"import sys; sys.modules['pydantic'] = None; {late}; main({[command, '.', '-o', 'x']!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    how = 'in the folder of wsi-idc\'s source: pip install ".[train]"'
    assert done.stderr == f"error: this needs pydantic, which is not installed; {how}\n"
    assert not list(tmp_path.iterdir())


def test_train_says_what_is_trained_and_how_well(patches, tmp_path, monkeypatch):
    file = tmp_path / "config.toml"
    file.write_text("[fit]\nepochs = 9\nseed = 3\n")
    # What is given as an option is text, whatever it looks like in TOML.
    (tmp_path / "2024").mkdir()
    (tmp_path / "2024" / "train.txt").write_text("8865 8913")
    (tmp_path / "2024" / "val.txt").write_text("8867 8914")
    monkeypatch.chdir(tmp_path)
    arguments = ["train", patches, "-o", tmp_path / "run", "--config", file, *settings()]
    done = run(*arguments, "--epochs", 2, "--split", "2024", "--architecture", "separable_residual_cnn")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[:2] == ["training: 32 patches of 2 patients", "validation: 32 patches of 2 patients"]
    assert lines[2].startswith("epoch 1  learning_rate ")
    assert lines[3].startswith("epoch 2  ")
    assert lines[4].startswith("temperature ")
    assert "2 patients  auc 0." in lines[5]
    assert lines[-1] == str(tmp_path / "run")
    assert done.stderr == "", "no progress bar where there is no terminal"
    held = read_config(tmp_path / "run" / "config.toml")
    assert (held.fit.epochs, held.fit.seed) == (2, 3)
    assert (held.model.architecture, held.data.split) == ("separable_residual_cnn", "2024")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "fit.epoch=3"], "configuration: fit.epoch: no such key; there are epochs"),
        (["--architecture", "nothing"], "nothing: no such architecture; there are"),
        (["--init", "nothing"], "no model 'nothing'"),
        (["--split", "nowhere"], "nowhere/train.txt: no such file"),
        (["--set", "model.options={depth = 3}"], "residual_cnn: has no option depth, but patch_size"),
        (["--weights", "imagenet"], "residual_cnn: has no published weights"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage_in_one_line(patches, tmp_path, arguments, message):
    done = run("train", patches, "-o", tmp_path / "run", *arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {message}")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_folder_without_patches(tmp_path):
    (tmp_path / "empty").mkdir()
    done = run("train", tmp_path / "empty", "-o", tmp_path / "run")
    assert done.exit_code == 1
    assert "no patches named <patient>/" in done.stderr
    assert run("train", tmp_path / "gone", "-o", tmp_path / "run").exit_code == 2


def test_package_says_what_was_made(trained, tmp_path):
    done = run("models", "package", trained, "-o", tmp_path / "small", "--version", "2.1", "--mpp", "0.5")
    assert done.exit_code == 0, done.output
    result = json.loads((trained / "run.json").read_text())
    assert done.stdout.startswith(f"{tmp_path / 'small'}: threshold {result['threshold']}, temperature ")
    shown = json.loads(run("models", "show", tmp_path / "small", "--json").stdout)
    assert (shown["name"], shown["version"], shown["mpp"], shown["patch_size"]) == ("small", "2.1", 0.5, 16)
    again = run("models", "package", trained, "-o", tmp_path / "small")
    assert again.exit_code == 1
    assert again.stderr == f"error: {tmp_path / 'small'}: is there already; choose another -o or give --overwrite\n"
    assert run("models", "package", trained, "-o", tmp_path / "small", "--version", "3.0", "--overwrite").exit_code == 0
    assert json.loads(run("models", "show", tmp_path / "small", "--json").stdout)["version"] == "3.0"


def test_tune_leaves_a_configuration_that_train_takes(patches, tmp_path):
    space = tmp_path / "space.toml"
    space.write_text('"model.options.dropout" = { choices = [0.0, 0.5] }\n')
    given = [*settings("fit.epochs=1"), "--space", space, "--trials", 1]
    done = run("tune", patches, "-o", tmp_path / "search", *given)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("trial 0: AUC 0.")
    assert lines[1:] == [str(tmp_path / "search" / "best.toml")]
    best = run("train", patches, "-o", tmp_path / "run", "--config", tmp_path / "search" / "best.toml")
    assert best.exit_code == 0, best.output
    (row,) = csv.DictReader((tmp_path / "search" / "results.csv").open())
    result = json.loads((tmp_path / "run" / "run.json").read_text())
    assert float(row["val_auc"]) == result["metrics"]["val"]["auc"]["value"]
    space.write_text("rate = 3\n")
    wrong = run("tune", patches, "-o", tmp_path / "other", "--space", space)
    assert (wrong.exit_code, len(wrong.stderr.splitlines())) == (2, 1)
    assert wrong.stderr.startswith(f"error: {space}: rate: give {{low = ..., high = ...")


def without_seconds(run):
    with (run / "log.csv").open(newline="") as stream:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(stream)]


@pytest.mark.skipif(os.name == "nt", reason="kill -9")
def test_killed_and_called_again_it_ends_as_if_it_had_not_been(patches, tmp_path):
    given = ["fit.epochs=8", "optimizer.average=0.9", "data.cache=disk"]
    command = [sys.executable, "-m", "wsi_idc", "train", patches, "-o", tmp_path / "killed", *settings(*given)]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    log = tmp_path / "killed" / "log.csv"
    with subprocess.Popen(
        command, cwd=HERE, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        while process.poll() is None and not log.exists():
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert 1 <= len(without_seconds(tmp_path / "killed")) < 8
    assert not (tmp_path / "killed" / "run.json").exists()
    config = read_config(None, [*SMALL, *given])
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        results = [train(patches, config, tmp_path / name) for name in ("killed", "whole")]
    assert results[0] == results[1]
    assert without_seconds(tmp_path / "killed") == without_seconds(tmp_path / "whole")
    first, second = (
        keras.saving.load_model(tmp_path / name / "encoder.keras", compile=False) for name in ("killed", "whole")
    )
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    logits = [(tmp_path / name / "val-logits.csv").read_bytes() for name in ("killed", "whole")]
    assert logits[0] == logits[1]


@pytest.mark.parametrize("setting", ["fit.epoch=3", "model.architecture=nothing", "model.options={depth = 3}"])
@pytest.mark.parametrize("command", ["train", "tune"])
def test_a_typo_is_found_before_keras_is_loaded(patches, tmp_path, command, setting):
    arguments = [command, str(patches), "-o", "run", "--set", setting]
    code = (
        f"import sys; from wsi_idc.cli.group import main\ntry: main({arguments!r})\n"
        "except SystemExit as end: print(end.code, sorted({'keras', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "2 []\n", done.stderr
    assert len(done.stderr.splitlines()) == 1
