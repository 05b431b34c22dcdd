import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner

from wsi_idc.cli.group import main
from wsi_idc.data.split import official_split
from wsi_idc.errors import DataError
from wsi_idc.training.folds import fold_splits

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
