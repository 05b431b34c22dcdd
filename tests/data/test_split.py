from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from wsi_idc.cli.group import main
from wsi_idc.data.kaggle import LabelledPatch, index_patches, read_patients
from wsi_idc.data.split import (
    check_split,
    fold_split,
    hospital_split,
    leaky_patch_split,
    official_split,
    random_split,
    read_leaky_split,
    read_split,
    write_leaky_split,
    write_split,
)
from wsi_idc.errors import DataError, OutputError

from helpers import write_patches

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
    patients |= {"case_3", "Müller", "病人", "²"}
    for patient in patients:
        (tmp_path / "data" / patient / "0").mkdir(parents=True)
        (tmp_path / "data" / patient / "0" / f"{patient}_idx5_x1_y1_class0.png").touch()
    (tmp_path / "data" / "IDC_regular_ps50_idx5").mkdir()
    arguments = ["data", "split", str(tmp_path / "data"), "-o", str(tmp_path / "lists"), "--how", how]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    lists = [read_patients(f) for f in sorted((tmp_path / "lists").iterdir())]
    assert set().union(*lists) == patients
    assert sum(len(part) for part in lists) == len(patients)
    assert ("no patients in val; training needs train and val" in done.stderr) == (how == "hospital")
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 1
    assert "already there" in again.stderr


@pytest.mark.parametrize("how", ["random", "leaky-patches"])
@pytest.mark.parametrize("shares", ["72,8", "a,b,c", "0,50,50", "nan,1,1", "inf,1,1"])
def test_shares_that_are_none(tmp_path, how, shares):
    arguments = ["data", "split", str(tmp_path), "-o", str(tmp_path / "o"), "--how", how, "--shares", shares]
    assert CliRunner().invoke(main, arguments).exit_code == 2


@pytest.mark.parametrize(("folds", "fold"), [(5, 5), (5, -1), (2, 0), (20, 0)])
def test_folds_that_make_no_sense(folds, fold):
    with pytest.raises(DataError):
        fold_split([str(n) for n in range(10)], folds, fold, 0)


@given(ids, st.integers(0, 99))
def test_lists_read_back_are_those_written(tmp_path_factory, patients, seed):
    folder = tmp_path_factory.mktemp("lists")
    split = fold_split(patients, 3, seed % 3, seed) | {"unlisted": ["1", "2"]}
    write_split(folder, split)
    assert read_split(folder) == {name: set(part) for name, part in split.items()}


def test_lists_that_cannot_be_a_split_are_named(tmp_path):
    (tmp_path / "train.txt").write_text("6\n7\n")
    with pytest.raises(DataError, match=r"val\.txt: no such file; give a folder that wsi-idc data split wrote"):
        read_split(tmp_path)
    (tmp_path / "val.txt").write_text("8\n")
    assert read_split(tmp_path) == {"train": {"6", "7"}, "val": {"8"}}
    (tmp_path / "test.txt").write_text("9, 7")
    with pytest.raises(DataError, match=r"patient 7 is in .*train\.txt and in .*test\.txt; a patient has one side"):
        read_split(tmp_path)
    (tmp_path / "test.txt").write_bytes(b"\xff\xfe7")
    with pytest.raises(DataError, match=r"test\.txt: is not a text file"):
        read_split(tmp_path)
    with pytest.raises(DataError, match=r"train\.txt: no such file"):
        read_split(tmp_path / "gone")


def test_a_patient_that_no_list_can_hold_is_named(tmp_path):
    for patient in ("case 7", "7,8"):
        with pytest.raises(DataError, match=f"patient '{patient}': lists are parted by white space and commas"):
            write_split(tmp_path, {"train": ["6"], "val": [patient]})
    assert not list(tmp_path.iterdir())


def test_a_split_is_written_once_and_leaves_nothing_else(tmp_path):
    write_split(tmp_path, {"train": ["1"], "val": ["2"]})
    with pytest.raises(OutputError, match=r"train\.txt, .*val\.txt: already there"):
        write_split(tmp_path, {"train": ["2"], "val": ["1"]})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["train.txt", "val.txt"]
    assert read_split(tmp_path) == {"train": {"1"}, "val": {"2"}}


@given(st.integers(10, 60), st.sampled_from([(72, 8, 20), (0.5, 0.25, 0.25)]), st.integers(0, 99))
def test_leaky_split_parts_the_patches_in_shares(count, shares, seed):
    patches = [LabelledPatch(Path(f"{n}.png"), str(n % 3), 50 * n + 1, 1, n % 2) for n in range(count)]
    try:
        split = leaky_patch_split(patches, shares, seed)
    except DataError as error:
        assert "patches in shares" in str(error)
        return
    assert sorted(p.x for part in split.values() for p in part) == [p.x for p in patches]
    for part, share in zip(split.values(), shares, strict=True):
        assert abs(len(part) - share / sum(shares) * count) <= 1
    assert split == leaky_patch_split(patches[::-1], shares, seed)


@pytest.fixture
def patch_files(tmp_path):
    """Empty files of 20 patches of each of 3 patients, in Kaggle's layout."""
    for patient in "789":
        for label in (0, 1):
            (tmp_path / "data" / patient / str(label)).mkdir(parents=True)
        for n in range(20):
            (tmp_path / "data" / patient / str(n % 2) / f"{patient}_idx5_x{50 * n + 1}_y1_class{n % 2}.png").touch()
    return tmp_path / "data"


def test_leaky_lists_have_that_name_only_and_warn(patch_files, tmp_path):
    lists = tmp_path / "lists"
    arguments = ["data", "split", str(patch_files), "-o", str(lists), "--how", "leaky-patches", "--shares", "60,20,20"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "on several sides" in done.stderr
    assert "not comparable" in done.stderr
    assert sorted(p.name for p in lists.iterdir()) == ["test.csv", "train.csv", "val.csv"]
    assert (lists / "val.csv").read_text().splitlines()[0] == "path"
    parts = read_leaky_split(lists)
    assert {name: len(part) for name, part in parts.items()} == {"train": 36, "val": 12, "test": 12}
    assert set().union(*parts.values()) == {
        p.path.relative_to(patch_files).as_posix() for p in index_patches(patch_files)
    }
    assert all((patch_files / path).is_file() for part in parts.values() for path in part)
    # Nothing that takes a split by patient takes these lists.
    with pytest.raises(DataError, match=r"train\.txt: no such file"):
        read_split(lists)
    assert CliRunner().invoke(main, arguments).exit_code == 1
    honest = CliRunner().invoke(main, ["data", "split", str(patch_files), "-o", str(lists), "--how", "random"])
    assert "leakage" not in honest.stderr


def test_leaky_lists_that_are_none(patch_files, tmp_path):
    write_leaky_split(tmp_path, leaky_patch_split(index_patches(patch_files), (1, 1, 1), 0), patch_files)
    (tmp_path / "val.csv").write_text((tmp_path / "train.csv").read_text())
    with pytest.raises(DataError, match=r"patch \S+png is in .*train\.csv and in .*val\.csv"):
        read_leaky_split(tmp_path)
    for content in (b"patient\n7\n", b"\xff\xfe"):
        (tmp_path / "val.csv").write_bytes(content)
        with pytest.raises(DataError, match=r"val\.csv: is no table with a column path"):
            read_leaky_split(tmp_path)
    (tmp_path / "val.csv").unlink()
    with pytest.raises(DataError, match=r"val\.csv: no such file"):
        read_leaky_split(tmp_path)


@pytest.mark.parametrize("how", ["random", "official"])
def test_a_folder_without_patients_is_not_split(tmp_path, how):
    (tmp_path / "data").mkdir()
    done = CliRunner().invoke(main, ["data", "split", str(tmp_path / "data"), "-o", str(tmp_path / "o"), "--how", how])
    assert done.exit_code == 1
    assert "no patches named" in done.stderr
    assert not (tmp_path / "o").exists()


@pytest.mark.realdata
def test_official_lists_are_those_of_the_data(shared):
    for part in ("train", "val", "test"):
        listed = (shared / "idc" / "splits" / f"cases_{part}.txt").read_text().split()
        assert official_split(listed)[part] == sorted(listed)


def test_names_that_no_list_can_hold_are_said_before_shares_that_do_not_do(tmp_path):
    """Else the shares were mended first, for nothing."""
    write_patches(tmp_path / "patches", ["case 7", "b"])
    for how in ("random", "official", "fold", "hospital"):
        arguments = ["data", "split", str(tmp_path / "patches"), "-o", str(tmp_path / "split"), "--how", how]
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 1
        assert "patient 'case 7': lists are parted by white space and commas" in done.stderr
    assert not (tmp_path / "split").exists()
