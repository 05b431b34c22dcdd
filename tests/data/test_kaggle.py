import json
import shutil

import numpy as np
import pytest
from PIL import Image

import wsi_idc
from wsi_idc.data.assemble import assemble, paste_patches
from wsi_idc.data.audit import audit_folder
from wsi_idc.data.kaggle import index_patches, load_patches, patients_in, read_patch, read_patients
from wsi_idc.errors import DataError, OutputError
from wsi_idc.heatmap.store import read_heatmap


def write_patch(root, patient, x, y, label, pixels):
    folder = root / patient / str(label)
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / f"{patient}_idx5_x{x}_y{y}_class{label}.png")


@pytest.fixture
def kaggle(tmp_path, section):
    """A painted section cut into Kaggle's layout, pale patches left out; and what is nested and foreign in archives."""
    root = tmp_path / "archive"
    pixels, labels = section.pixels, section.labels
    for top in range(0, 600, 50):
        for left in range(0, 750, 50):
            patch = pixels[top : top + 50, left : left + 50]
            if patch.mean() < 225:
                label = int((labels[top : top + 50, left : left + 50] == 4).mean() > 0.5)
                write_patch(root, "7", left + 1, top + 1, label, patch)
    write_patch(root, "7", 751, 51, 0, np.full((50, 30, 3), 200, np.uint8))
    write_patch(root, "70", 1, 1, 1, np.full((50, 50, 3), 90, np.uint8))
    write_patch(root / "IDC_regular_ps50_idx5", "7", 1, 1, 0, pixels[:50, :50])
    (root / "7" / "0" / "Thumbs.png").write_bytes(b"")
    return root


def test_index_counts_each_patch_once(kaggle):
    patches = index_patches(kaggle)
    assert {p.patient for p in patches} == {"7", "70"}
    assert len(patches) == len({(p.patient, p.x, p.y) for p in patches})
    assert [p.patient for p in index_patches(kaggle, {"70"})] == ["70"]
    keys = [(p.patient, p.y, p.x) for p in patches]
    assert keys == sorted(keys)


def test_loading_leaves_odd_sizes_out_and_says_which(kaggle):
    patches = index_patches(kaggle, {"7"})
    pixels, labels, kept = load_patches(patches)
    assert pixels.shape == (len(patches) - 1, 50, 50, 3)
    assert [p for p in patches if p not in kept] == [p for p in patches if p.x == 751]
    assert labels.tolist() == [p.label for p in kept]
    np.testing.assert_array_equal(pixels[3], np.asarray(Image.open(kept[3].path)))


def test_missing_data_is_named(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        index_patches(tmp_path / "gone")
    with pytest.raises(DataError, match="no patches"):
        index_patches(tmp_path)


def test_damaged_and_misplaced_patches_are_named(tmp_path, section):
    write_patch(tmp_path, "1", 1, 1, 0, section.pixels[:50, :50])
    (tmp_path / "1" / "0" / "1_idx5_x51_y1_class0.png").write_bytes(b"\x89PNG damaged")
    with pytest.raises(DataError, match=r"x51_y1_class0\.png: cannot be read"):
        load_patches(index_patches(tmp_path))


def test_patches_are_of_colours_and_white_where_transparent(tmp_path):
    """As `wsi-idc predict` reads them."""
    folder = tmp_path / "2" / "0"
    folder.mkdir(parents=True)
    Image.new("RGBA", (50, 50), (10, 20, 30, 0)).save(folder / "2_idx5_x1_y1_class0.PNG")
    (patch,) = index_patches(tmp_path)
    assert (read_patch(patch.path) == 255).all()
    Image.new("L", (50, 50)).save(folder / "2_idx5_x51_y1_class0.png")
    with pytest.raises(DataError, match=r"x51_y1.*not 8-bit colour"):
        load_patches(index_patches(tmp_path))


def test_patches_further_apart_than_a_section_is_large_are_refused(tmp_path, section):
    """What lies between them would be gigabytes of white."""
    for x, y in ((1, 1), (49_951, 1)):
        write_patch(tmp_path, "2", x, y, 0, section.pixels[:50, :50])
    assert len(index_patches(tmp_path)) == 2
    write_patch(tmp_path, "2", 1, 49_951, 0, section.pixels[:50, :50])
    with pytest.raises(DataError, match="2: its patches lie as far as x=49951 and y=49951"):
        index_patches(tmp_path)


@pytest.mark.parametrize(("x", "y"), [(0, 1), (1, 0), (9_999_999, 1), (1, 9_999_999)])
def test_places_that_are_none_are_named(tmp_path, section, x, y):
    """Of 0 the grid would make its last column, and of millions more than fits into memory."""
    write_patch(tmp_path, "2", x, y, 0, section.pixels[:50, :50])
    with pytest.raises(DataError, match=rf"x{x}_y{y}_class0\.png: x={x}, y={y} is no place .* counted from 1"):
        index_patches(tmp_path)


@pytest.mark.parametrize("patient", ["case_7", "x_idx5_x", "Müller", "病人 3"])
def test_patients_may_have_any_name(tmp_path, section, patient):
    write_patch(tmp_path, patient, 51, 1, 1, section.pixels[:50, :50])
    (patch,) = index_patches(tmp_path)
    assert (patch.patient, patch.x, patch.y, patch.label) == (patient, 51, 1, 1)


def test_a_place_in_both_classes_is_refused(kaggle, section):
    write_patch(kaggle, "70", 1, 1, 0, section.pixels[:50, :50])
    with pytest.raises(
        DataError, match=r"70_idx5_x1_y1_class\d\.png: the same place is in the other class as .*keep one"
    ):
        index_patches(kaggle)
    # Another patient's are not looked at, and another place is no conflict.
    assert index_patches(kaggle, {"7"})
    (kaggle / "70" / "0" / "70_idx5_x1_y1_class0.png").unlink()
    write_patch(kaggle, "70", 51, 1, 0, section.pixels[:50, :50])
    assert [p.label for p in index_patches(kaggle, {"70"})] == [1, 0]


def test_the_folder_to_give_is_named(kaggle, tmp_path):
    with pytest.raises(DataError, match=f"they are in {kaggle}, give that folder"):
        index_patches(tmp_path)
    with pytest.raises(DataError, match=f"the folder of one patient, give {kaggle}"):
        index_patches(kaggle / "7")
    with pytest.raises(DataError, match=r"class<0\|1>\.png$"):
        index_patches(kaggle, {"8"})


def test_a_picture_too_large_for_any_patch_is_damage(tmp_path, section, monkeypatch):
    write_patch(tmp_path, "1", 1, 1, 0, section.pixels[:50, :50])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match="cannot be read as an image"):
        load_patches(index_patches(tmp_path))


def test_split_files_may_be_lines_or_commas(tmp_path):
    (tmp_path / "a").write_text("1\n2\n\n3\n")
    (tmp_path / "b").write_text("1,2, 3")
    (tmp_path / "c").write_text("1\r\n2\r\n3", encoding="utf-8-sig")
    assert all(read_patients(tmp_path / name) == {"1", "2", "3"} for name in "abc")


def test_assembled_section_has_every_patch_in_its_place(kaggle, tmp_path, section):
    patches = index_patches(kaggle, {"7"})
    pasted = paste_patches(patches)
    slide = assemble(kaggle, "7", tmp_path)
    with wsi_idc.Slide(slide) as opened:
        assert opened.mpp.x == pytest.approx(4.0)
        assert opened.size == pasted.shape[1::-1]
        np.testing.assert_array_equal(opened.read(0, 0, *opened.size, 4.0), pasted)
    covered = np.zeros(pasted.shape[:2], bool)
    for p in patches:
        covered[p.y - 1 : p.y + 49, p.x - 1 : p.x + 49] = True
        if p.x < 751:
            expected = section.pixels[p.y - 1 : p.y + 49, p.x - 1 : p.x + 49]
            np.testing.assert_array_equal(pasted[p.y - 1 : p.y + 49, p.x - 1 : p.x + 49], expected)
    assert (pasted[~covered] == 255).all()


def test_a_slide_that_has_the_name_of_the_section_is_kept(kaggle, tmp_path):
    made = assemble(kaggle, "70", tmp_path / "out")
    content = made.read_bytes()
    assert assemble(kaggle, "70", tmp_path / "out") == made
    made.write_bytes(b"the slide itself")
    with pytest.raises(OutputError, match=r"70\.tif: another file is there; choose another -o"):
        assemble(kaggle, "70", tmp_path / "out")
    assert made.read_bytes() == b"the slide itself"
    assert [p.name for p in made.parent.iterdir()] == ["70.tif"]
    assert assemble(kaggle, "70", tmp_path / "other").read_bytes() == content
    assert assemble(kaggle, "70", tmp_path / "out", overwrite=True).read_bytes() == content


def test_the_same_section_is_left_as_it_is(kaggle, tmp_path):
    made = assemble(kaggle, "70", tmp_path)
    before = made.stat()
    assemble(kaggle, "70", tmp_path)
    assert (made.stat().st_ino, made.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_heatmap_of_a_section_is_the_model_on_its_patches(kaggle, tmp_path):
    """The grid of a slide is the grid of the patch names: no shift, no other scale."""
    from wsi_idc.inference.choose import make_engine
    from wsi_idc.inference.predictor import Predictor

    model = wsi_idc.find_model("idc-patch")
    pixels, _, kept = load_patches(index_patches(kaggle, {"7"}))
    expected = Predictor(model, make_engine("onnx", model)).patches(pixels)
    heatmap, _ = read_heatmap(
        wsi_idc.segment(assemble(kaggle, "7", tmp_path), tmp_path / "out", model="idc-patch").heatmap
    )
    found = np.array([heatmap[p.y // 50, p.x // 50] for p in kept])
    computed = np.isfinite(found)
    assert computed.mean() > 0.9
    np.testing.assert_allclose(found[computed], expected[computed], atol=1e-5)


@pytest.mark.realdata
def test_real_section_10274(shared, tmp_path):
    """The open test section: AUC of the heatmap against the labels of its 878 patches."""
    import subprocess
    import sys

    from sklearn.metrics import roc_auc_score

    unpack = [sys.executable, shared / "idc" / "unpack.py", tmp_path / "idc", "--patients", "10274"]
    subprocess.run(unpack, check=True, capture_output=True)
    result = wsi_idc.segment(assemble(tmp_path / "idc", "10274", tmp_path), tmp_path / "out")
    heatmap, _ = read_heatmap(result.heatmap)
    _, labels, kept = load_patches(index_patches(tmp_path / "idc"))
    assert len(kept) == 878
    values = np.nan_to_num([heatmap[p.y // 50, p.x // 50] for p in kept])
    assert roc_auc_score(labels, values) >= 0.93
    assert json.loads(result.regions.read_text())["features"]


def test_what_macos_leaves_beside_files_is_no_patient_and_no_patch(kaggle):
    """AppleDouble files, and folders of them, have the names of what they lie beside, after a dot and a line."""
    before = index_patches(kaggle)
    own = before[0].path
    own.with_name(f"._{own.name}").write_bytes(b"\0\5\26\7")
    shutil.copytree(kaggle / "7", kaggle / "._7")
    for path in [*(kaggle / "._7").glob("*/*.png")]:
        path.rename(path.with_name(f"._{path.name}"))
    assert index_patches(kaggle) == before
    assert patients_in(kaggle) == {"7", "70", "IDC_regular_ps50_idx5"}
    audit = audit_folder(kaggle)
    assert (audit.patients, audit.patches) == (2, len(before))
    assert audit.findings["foreign"].count == 3, "those two, and a Thumbs.png"
