import csv
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from wsi_idc.cli.group import main
from wsi_idc.data.split import official_split
from wsi_idc.errors import DataError, OutputError
from wsi_idc.training.config import read_config
from wsi_idc.training.folds import fold_splits, train_folds

from helpers import SMALL, write_patches

pytestmark = pytest.mark.usefixtures("few_resamples")


def test_every_patient_but_those_of_test_is_held_out_once(patches):
    splits = fold_splits(patches, 3, seed=1)
    held = [p for split in splits.values() for p in split["val"]]
    everybody = {p.name for p in patches.iterdir()}
    assert sorted(held) == sorted(everybody - set(official_split(everybody)["test"]))
    for split in splits.values():
        assert not set(split["train"]) & set(split["val"])
        assert sorted(split["train"] + split["val"]) == sorted(held)
    assert fold_splits(patches, 3, seed=1) == splits
    with pytest.raises(DataError, match="do not give 50 folds"):
        fold_splits(patches, 50, seed=1)


def test_each_hospital_is_held_out_once(tmp_path):
    folder = write_patches(tmp_path / "patches", ["10253", "10308", "9999", "8865"])
    splits = fold_splits(folder, "hospital", seed=1)
    assert {name: split["val"] for name, split in splits.items()} == {
        "hospital-a": ["10253", "10308"],
        "hospital-b": ["8865", "9999"],
    }


def test_the_command_keeps_what_is_said_of_patients_not_seen(patches, tmp_path):
    out = tmp_path / "folds"
    given = [part for setting in [*SMALL, "fit.epochs=1"] for part in ("--set", setting)]
    arguments = ["train", str(patches), "-o", str(out), "--folds", "2", *given]
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    with (out / "out-of-fold.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        assert row["patient"] in (out / "splits" / row["fold"] / "val.txt").read_text().split()
    assert len({(r["patient"], r["x"], r["y"]) for r in rows}) == len(rows)
    result = json.loads((out / "folds.json").read_text())
    assert result["metrics"]["out_of_fold"]["patches"] == len(rows)
    assert set(result["folds"]) == {"fold-0", "fold-1"}
    assert 0 < result["threshold"] < 1
    own = [float(r["logit"]) for r in rows if r["fold"] == "fold-1"]
    with (out / "fold-1" / "val-logits.csv").open(newline="") as stream:
        np.testing.assert_array_equal(own, [float(r["logit"]) for r in csv.DictReader(stream)])
    # The same command again computes nothing anew and ends the same.
    before = (out / "folds.json").read_bytes()
    assert CliRunner().invoke(main, arguments, catch_exceptions=False).exit_code == 0
    assert (out / "folds.json").read_bytes() == before


def test_a_number_of_folds_that_is_none(patches, tmp_path):
    for given in ("1", "x", "-3"):
        done = CliRunner().invoke(main, ["train", str(patches), "-o", str(tmp_path / "o"), "--folds", given])
        assert done.exit_code == 2
        assert "at least 2, or hospital" in done.stderr


def folds_of(folder):
    """All that a folder of folds holds, but what says who is at it."""
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")}


def test_folds_of_another_kind_number_or_patients_are_refused(tmp_path):
    """Once 5 folds went on as 3 of them: a patient in two val lists, others in none."""
    patients = ["10253", "10308", "9999", "9998", "8865", "8863"]
    data = write_patches(tmp_path / "patches", patients)
    out, config = tmp_path / "folds", read_config(None, [*SMALL, "fit.epochs=0"])
    done = train_folds(data, config, 3, out)
    before = folds_of(out)
    more = write_patches(shutil.copytree(data, tmp_path / "more"), ["9997"])
    fewer = shutil.copytree(data, tmp_path / "fewer")
    shutil.rmtree(fewer / "9998")
    for given, how, seed in (
        (data, 2, 1),
        (data, 5, 1),
        (data, "hospital", 1),
        (data, 3, 2),
        (more, 3, 1),
        (fewer, 3, 1),
    ):
        other = read_config(None, [*SMALL, "fit.epochs=0", f"fit.seed={seed}"])
        with pytest.raises(OutputError, match=r"is of (other|none of these) folds.*; choose another -o"):
            train_folds(given, other, how, out)
        assert folds_of(out) == before
    # A patient of the official test list is in no fold anyway.
    write_patches(data, ["8864"])
    assert train_folds(data, config, 3, out) == done
    # A kill between two lists leaves one: the same are drawn again.
    (out / "splits" / "fold-1" / "val.txt").unlink()
    assert train_folds(data, config, 3, out) == done
    assert folds_of(out) == before


def test_folds_go_into_no_folder_of_something_else(patches, trained):
    with pytest.raises(OutputError, match=r"holds \S+, which is of none of these folds; choose another -o"):
        train_folds(patches, read_config(None, SMALL), 2, trained)
