import csv
import errno
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from wsi_idc.cli.group import main
from wsi_idc.data.audit import audit_folder
from wsi_idc.errors import DataError, OutputError

from audited import noise, put

FILES = {"audit.json", "patients.csv"} | {
    f"{n}.{e}" for n in ("classes", "patients", "idc_share") for e in ("png", "svg")
}


@pytest.fixture
def clean(tmp_path):
    """Patient 7, a section of 4x4 patches with IDC in one column, and patient 8, a sample of 3 without neighbours."""
    root = tmp_path / "idc"
    for n in range(16):
        put(root, "7", n % 4, n // 4, int(n % 4 == 0))
    for column, row, label in ((0, 0, 1), (2, 1, 0), (5, 3, 0)):
        put(root, "8", column, row, label)
    return root


def counts(audit):
    return {name: finding.count for name, finding in audit.findings.items() if finding.count}


def test_clean_data_is_counted_and_nothing_is_found(clean):
    audit = audit_folder(clean)
    assert counts(audit) == {}
    assert (audit.patches, audit.not_idc, audit.idc, audit.patients) == (19, 14, 5, 2)
    assert audit.idc_share == pytest.approx(5 / 19, abs=1e-6)
    assert (audit.whole_sections, audit.random_samples) == (1, 1)
    assert (audit.one_class_only, audit.patients_without_idc, audit.patients_with_idc_only) == (False, 0, 0)
    assert audit.sizes == {}
    assert audit.nested == []
    section, sample = audit.per_patient
    assert (section.patient, section.patches, section.idc, section.idc_share) == ("7", 16, 4, 0.25)
    assert (section.missing_neighbours, section.whole_section) == (0, True)
    assert (sample.patient, sample.patches, sample.idc, sample.missing_neighbours) == ("8", 3, 1, 1)
    assert not sample.whole_section


def test_missing_neighbours_are_those_inside_the_rectangle_of_the_patches(tmp_path):
    # An L of three patches away from the corner: the corner of the L has both neighbours, its ends one of two each.
    for column, row in ((5, 3), (5, 4), (6, 4)):
        put(tmp_path, "7", column, row, 0)
    put(tmp_path, "8", 9, 9, 1)
    ell, alone = audit_folder(tmp_path).per_patient
    assert ell.missing_neighbours == pytest.approx(2 / 6, abs=1e-6)
    assert alone.missing_neighbours is None


def test_unreadable_files_are_named(clean):
    put(clean, "7", 9, 0, 0).write_bytes(b"")
    put(clean, "7", 9, 1, 0).write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    cut = put(clean, "8", 9, 0, 1)
    cut.write_bytes(cut.read_bytes()[:2000])
    (clean / "8" / "1" / "8_idx5_x901_y1_class1.png").symlink_to(clean / "gone")
    audit = audit_folder(clean)
    assert counts(audit) == {"unreadable": 4}
    assert ["8/1/8_idx5_x451_y1_class1.png"] in audit.findings["unreadable"].examples
    assert [p.unreadable for p in audit.per_patient] == [2, 2]
    assert audit.patches == 23


def test_files_that_are_no_patches_are_named_and_not_counted(clean):
    (clean / "readme.txt").touch()
    (clean / "edge").mkdir()
    (clean / "7" / "2").mkdir()
    (clean / "7" / "notes.txt").touch()
    (clean / "7" / "0" / "Thumbs.db").touch()
    (clean / "7" / "0" / "7_idx5_x1_y1_class0.jpg").touch()
    (clean / "7" / "0" / "7_idx5_x1_y1_class2.png").touch()
    (clean / "7" / "1" / "7_idx5_x951_y1_class1.png").mkdir()
    audit = audit_folder(clean)
    assert counts(audit) == {"foreign": 8}
    assert ["7/0/Thumbs.db"] in audit.findings["foreign"].examples
    assert audit.patches == 19


def test_names_that_contradict_their_folders_or_the_grid(clean):
    put(clean, "7", 9, 0, 1, folder="7/0")
    put(clean, "8", 9, 0, 0, folder="7/0")
    for place in ("x26_y1", "x0_y1", "x1_y50051", f"x{'9' * 30}_y{'9' * 30}"):
        Image.fromarray(noise(len(place))).save(clean / "8" / "0" / f"8_idx5_{place}_class0.png")
    audit = audit_folder(clean)
    assert counts(audit) == {"label_not_of_folder": 1, "patient_not_of_folder": 1, "off_grid": 4}
    assert audit.findings["label_not_of_folder"].examples == [["7/0/7_idx5_x451_y1_class1.png"]]
    assert audit.findings["patient_not_of_folder"].examples == [["7/0/8_idx5_x451_y1_class0.png"]]
    assert [(p.patient, p.patches, p.idc) for p in audit.per_patient] == [("7", 17, 5), ("8", 8, 1)]


def test_a_place_in_both_classes_is_a_conflict(clean):
    put(clean, "7", 0, 0, 0, noise(1))
    audit = audit_folder(clean)
    assert counts(audit) == {"conflicting_places": 1}
    pair = ["7/0/7_idx5_x1_y1_class0.png", "7/1/7_idx5_x1_y1_class1.png"]
    assert audit.findings["conflicting_places"].examples == [pair]


def test_identical_pixels_within_and_across_patients_and_classes(clean):
    put(clean, "7", 9, 0, 0, noise(1))
    put(clean, "7", 9, 2, 0, noise(1))
    assert counts(audit_folder(clean)) == {"same_pixels_within_patient": 2}
    put(clean, "8", 9, 0, 0, noise(1))
    assert counts(audit_folder(clean)) == {"same_pixels_within_patient": 2, "same_pixels_across_patients": 3}
    put(clean, "8", 9, 2, 1, noise(1))
    audit = audit_folder(clean)
    expected = {"conflicting_pixels": 4, "same_pixels_within_patient": 4, "same_pixels_across_patients": 4}
    assert counts(audit) == expected
    across = audit.findings["same_pixels_across_patients"].examples
    assert all(len({path.split("/")[0] for path in pair}) == 2 for pair in across)
    within = audit.findings["same_pixels_within_patient"].examples
    assert all(one != other and one[0] == other[0] for one, other in within)
    assert all(
        "class0" in f"{pair}" and "class1" in f"{pair}" for pair in audit.findings["conflicting_pixels"].examples
    )


def test_the_same_bytes_in_another_shape_are_other_pixels(clean):
    put(clean, "7", 9, 0, 0, noise(1, 50, 20))
    put(clean, "7", 9, 2, 0, noise(1, 50, 20).reshape(20, 50, 3))
    audit = audit_folder(clean)
    assert counts(audit) == {"odd_size": 2}
    assert audit.sizes == {"20x50": 1, "50x20": 1}


def test_sizes_are_width_by_height_and_frequent_ones_first(clean):
    put(clean, "7", 9, 0, 0, noise(1, 50, 30))
    for row in range(2):
        put(clean, "8", 9, 2 * row, 0, noise(2 + row, 1, 50))
    audit = audit_folder(clean)
    assert list(audit.sizes.items()) == [("50x1", 2), ("30x50", 1)]
    assert audit.findings["odd_size"].count == 3
    assert [p.odd_size for p in audit.per_patient] == [1, 2]


def test_blank_and_dark_patches_are_near_empty_and_pale_tissue_is_not(clean):
    grain = (noise(1) % 8).astype(int)
    put(clean, "7", 9, 0, 0, (235 + grain).astype(np.uint8))
    put(clean, "7", 9, 2, 0, grain.astype(np.uint8))
    put(clean, "8", 9, 0, 0, (np.array([235, 205, 220]) + grain).astype(np.uint8))
    audit = audit_folder(clean)
    assert counts(audit) == {"near_empty_light": 1, "near_empty_dark": 1}
    assert [p.near_empty for p in audit.per_patient] == [2, 0]
    assert "at most 8" in audit.definitions["near_empty_light"]


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_only_is_said(tmp_path, label):
    put(tmp_path, "7", 0, 0, label)
    audit = audit_folder(tmp_path)
    assert audit.one_class_only
    assert (audit.patients_without_idc, audit.patients_with_idc_only) == (1 - label, label)
    done = CliRunner().invoke(main, ["data", "audit", str(tmp_path)])
    assert f"no patch is {['IDC', 'not IDC'][label]}" in done.stdout


def test_the_nested_tree_is_counted_once(clean):
    nested = clean / "IDC_regular_ps50_idx5"
    for n in range(16):
        put(nested, "7", n % 4, n // 4, int(n % 4 == 0))
    put(nested, "9", 0, 0, 0)
    audit = audit_folder(clean)
    assert audit.patches == 19
    assert counts(audit) == {}
    (tree,) = audit.nested
    assert (tree.folder, tree.patches, tree.only_there) == (nested.name, 17, 1)


@pytest.mark.parametrize("command", [["data", "audit"], ["data", "split", "-o", "lists"], ["data", "assemble"]])
@pytest.mark.parametrize("above", ["", "archive"])
def test_the_parent_of_a_tree_is_told_from_it(tmp_path, command, above, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tree = tmp_path / "data" / above / "IDC_regular_ps50_idx5"
    put(tree, "10", 0, 0, 0)
    patient = ["10"] if command[1] == "assemble" else []
    done = CliRunner().invoke(main, [*command, str(tmp_path / "data"), *patient])
    assert done.exit_code == 1
    assert f"they are in {tree}, give that folder" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "lists").exists()


def test_the_folder_of_one_patient_and_an_empty_one(clean, tmp_path):
    with pytest.raises(DataError, match=f"folder of one patient, give {clean}$"):
        audit_folder(clean / "7")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no patches named <patient>/<0\|1>/.*png$"):
        audit_folder(tmp_path / "empty")
    with pytest.raises(DataError, match="no such folder"):
        audit_folder(tmp_path / "gone")


def test_nothing_readable_is_an_error(tmp_path):
    put(tmp_path, "7", 0, 0, 0).write_bytes(b"")
    with pytest.raises(DataError, match="none of the 1 patches is an image"):
        audit_folder(tmp_path)


def test_outputs_hold_what_was_found_and_come_whole_or_not_at_all(clean, tmp_path, monkeypatch):
    calls = []
    audit = audit_folder(clean, tmp_path / "a" / "out", lambda done, total: calls.append((done, total)))
    assert calls[-1] == (19, 19)
    out = tmp_path / "a" / "out"
    assert {p.name for p in out.iterdir()} == FILES
    read = json.loads((out / "audit.json").read_text())
    assert read["patches"] == audit.patches
    assert set(read["findings"]) <= set(read["definitions"])
    rows = list(csv.DictReader((out / "patients.csv").open()))
    assert [(r["patient"], r["patches"], r["idc"]) for r in rows] == [("7", "16", "4"), ("8", "3", "1")]
    for chart in out.glob("*.png"):
        with Image.open(chart) as image:
            assert image.size == (720, 528)
        assert ET.parse(chart.with_suffix(".svg")).getroot().tag.endswith("svg")
    with pytest.raises(OutputError, match="is not empty"):
        audit_folder(clean, out)
    again = tmp_path / "again"
    again.mkdir()
    audit_folder(clean, again)
    for name in FILES:
        assert (again / name).read_bytes() == (out / name).read_bytes(), name

    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("wsi_idc.data.audit_report.draw_charts", full)
    with pytest.raises(OutputError, match="no space left"):
        audit_folder(clean, tmp_path / "full")
    assert {p.name for p in tmp_path.iterdir()} == {"idc", "a", "again"}


def test_the_place_for_the_results_is_not_reported(clean):
    assert counts(audit_folder(clean, clean / "audit")) == {}
    assert {p.name for p in (clean / "audit").iterdir()} == FILES


def test_the_command_prints_a_table_or_json(clean):
    for row in range(5):
        put(clean, "8", 9, 2 * row, 0).write_bytes(b"")
    done = CliRunner().invoke(main, ["data", "audit", str(clean)])
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    assert "24: 19 not IDC, 5 IDC (20.8%)" in done.stdout
    assert "2: 1 whole sections, 1 samples" in done.stdout
    # Three are named, all are counted.
    assert done.stdout.count("8/0/8_idx5_x451") == 3
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("unreadable")] == ["5"]
    done = CliRunner().invoke(main, ["data", "audit", str(clean), "--json"])
    read = json.loads(done.stdout)
    assert read["findings"]["unreadable"]["count"] == len(read["findings"]["unreadable"]["examples"]) == 5
    assert [p["patches"] for p in read["per_patient"]] == [16, 8]


def test_names_need_not_be_utf_8(clean, tmp_path):
    name = b"\xff_idx5_x1_y1_class0.png"
    try:
        (clean / "8" / "0" / name.decode("utf-8", "surrogateescape")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    done = CliRunner().invoke(main, ["data", "audit", str(clean), "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "\ufffd_idx5_x1_y1_class0.png" in done.stdout


@pytest.mark.realdata
def test_real_patches(shared, tmp_path):
    """A whole section, a sample, and the edge patches of both."""
    folder = tmp_path / "idc"
    unpack = [sys.executable, shared / "idc" / "unpack.py", folder, "--patients", "10274", "9076"]
    subprocess.run(unpack, check=True, capture_output=True)
    with (shared / "idc" / "patches.csv").open() as table:
        listed = [r for r in csv.DictReader(table) if r["patient"] in ("10274", "9076")]
    edge = [p for patient in ("10274", "9076") for p in Path(shared / "idc" / "edge" / patient).rglob("*.png")]
    assert edge
    audit = audit_folder(folder)
    assert audit.patches == len(listed) + len(edge)
    assert audit.idc == sum(r["label"] == "1" for r in listed) + sum("class1" in p.name for p in edge)
    assert set(counts(audit)) <= {"odd_size", "near_empty_light", "near_empty_dark"}
    assert audit.findings["odd_size"].count == sum(audit.sizes.values()) == len(edge)
    whole = {r["patient"] for r in listed if r["whole_section"] == "1"}
    assert {p.patient for p in audit.per_patient if p.whole_section} == whole
