import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from wsi_idc.cli import main
from wsi_idc.data.kaggle import read_patients
from wsi_idc.data.split import check_split, fold_split, hospital_split, official_split, random_split
from wsi_idc.errors import DataError

ids = st.sets(st.integers(8000, 17000).map(str), min_size=12, max_size=80)


@given(ids, st.sampled_from([(72, 8, 20), (80, 10, 10), (0.5, 0.25, 0.25)]), st.integers(0, 99))
def test_random_split_parts_the_patients_in_shares(patients, shares, seed):
    try:
        split = random_split(patients, shares, seed)
    except DataError as error:
        assert "empty" in str(error)
        return
    check_split(split)
    assert set().union(*split.values()) == patients
    for part, share in zip(split.values(), shares, strict=True):
        assert abs(len(part) - share / sum(shares) * len(patients)) <= 1
    assert split == random_split(sorted(patients, reverse=True), shares, seed)


@given(ids, st.integers(3, 10), st.integers(0, 99))
def test_every_patient_is_tested_in_exactly_one_fold(patients, folds, seed):
    splits = [fold_split(patients, folds, k, seed) for k in range(folds)]
    for split in splits:
        check_split(split)
        assert set().union(*split.values()) == patients
    tested = [p for split in splits for p in split["test"]]
    assert sorted(tested) == sorted(patients)


def test_official_split_and_patients_in_none_of_its_lists():
    split = official_split({"10274", "9078", "8863", "8865", "nobody"})
    assert split["test"] == ["10274"]
    assert split["val"] == ["9078"]
    assert split["train"] == ["8865"]
    assert split["unlisted"] == ["8863", "nobody"]
    check_split(split)


def test_hospital_held_back():
    split = hospital_split({"10252", "10253", "10308", "10309", "8863"})
    assert split["test"] == ["10253", "10308"]
    assert split["train"] == ["10252", "10309", "8863"]
    with pytest.raises(DataError, match="one hospital"):
        hospital_split({"8863", "8864"})


def test_a_patient_on_two_sides_is_an_error():
    with pytest.raises(DataError, match="patient 7 is in train and in test"):
        check_split({"train": ["6", "7"], "test": ["7"]})


@pytest.mark.parametrize("how", ["official", "random", "fold", "hospital"])
def test_lists_of_the_command_part_the_patients(tmp_path, how):
    patients = {"10274", "9078", "8865", "8863", "10253", "10254", "8914", "8867", "9036", "10277"}
    for patient in patients:
        (tmp_path / "data" / patient).mkdir(parents=True)
    (tmp_path / "data" / "IDC_regular_ps50_idx5").mkdir()
    arguments = ["data", "split", str(tmp_path / "data"), "-o", str(tmp_path / "lists"), "--how", how]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    lists = [read_patients(f) for f in sorted((tmp_path / "lists").iterdir())]
    assert set().union(*lists) == patients
    assert sum(len(part) for part in lists) == len(patients)
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 1
    assert "already there" in again.stderr


@pytest.mark.parametrize("shares", ["72,8", "a,b,c", "0,50,50"])
def test_shares_that_are_none(tmp_path, shares):
    arguments = ["data", "split", str(tmp_path), "-o", str(tmp_path / "o"), "--how", "random", "--shares", shares]
    assert CliRunner().invoke(main, arguments).exit_code == 2


@pytest.mark.parametrize(("folds", "fold"), [(5, 5), (5, -1), (2, 0), (20, 0)])
def test_folds_that_make_no_sense(folds, fold):
    with pytest.raises(DataError):
        fold_split([str(n) for n in range(10)], folds, fold, 0)


@pytest.mark.realdata
def test_official_lists_are_those_of_the_data(shared):
    for part in ("train", "val", "test"):
        listed = (shared / "idc" / "splits" / f"cases_{part}.txt").read_text().split()
        assert official_split(listed)[part] == sorted(listed)
