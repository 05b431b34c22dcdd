import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import shapely
from click.testing import CliRunner

from wsi_idc.cli.group import main
from wsi_idc.data import cut as cut_module
from wsi_idc.data.assemble import assemble
from wsi_idc.data.audit import audit_folder
from wsi_idc.data.cut import Rule, cut_patches, patient_of
from wsi_idc.data.kaggle import index_patches, read_patch
from wsi_idc.data.scale import stated_mpp
from wsi_idc.errors import DataError, OutputError, SlideError
from wsi_idc.models.registry import find_model
from wsi_idc.runs.results.outputs import schema
from wsi_idc.slides.slide import Slide
from wsi_idc.slides.write import write_slide

from helpers import least, numpy_package, write_patches

TUMOUR = 4
SEES_4_UM = numpy_package()


def outline(mask, scale=1):
    """Outline the pixels of a mask (h, w) bool exactly."""
    rows, cols = np.nonzero(mask)
    squares = shapely.box(cols * scale, rows * scale, (cols + 1) * scale, (rows + 1) * scale)
    return shapely.union_all(squares)


def write_outlines(path, *outlines):
    """Write (class or None, geometry) as QuPath GeoJSON."""
    features = [
        {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(geometry),
            "properties": {"objectType": "annotation"}
            | ({"classification": {"name": name, "color": [0, 0, 200]}} if name else {}),
        }
        for name, geometry in outlines
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def shares_of(mask, side=50):
    """Average a mask over patches; what lies beyond it counts as False."""
    rows, cols = (-(-n // side) for n in mask.shape)
    padded = np.zeros((rows * side, cols * side))
    padded[: mask.shape[0], : mask.shape[1]] = mask
    return padded.reshape(rows, side, cols, side).mean((1, 3))


@pytest.fixture(scope="module")
def tumour(section, tmp_path_factory):
    """The tumour of the painted section as a file of outlines."""
    return write_outlines(tmp_path_factory.mktemp("outlines") / "tumour.geojson", ("IDC", outline(section.labels == 4)))


def test_cut_patches_are_those_that_the_outline_says(section, painted, tumour, tmp_path):
    cut = cut_patches(painted, tumour, tmp_path / "out", SEES_4_UM)
    patches = index_patches(tmp_path / "out")
    shares = shares_of(section.labels == TUMOUR)
    assert {p.patient for p in patches} == {"painted"}
    for p in patches:
        row, col = (p.y - 1) // 50, (p.x - 1) // 50
        assert (p.x, p.y) == (col * 50 + 1, row * 50 + 1)
        assert p.label == (shares[row, col] >= 0.8)
        assert p.label or shares[row, col] <= 0.2
        np.testing.assert_array_equal(read_patch(p.path), section.pixels[p.y - 1 :, p.x - 1 :][:50, :50])
    border = (shares > 0.2) & (shares < 0.8)
    assert cut.border == border.sum() > 5
    assert cut.idc == sum(p.label for p in patches) == (shares >= 0.8).sum() > 5
    assert cut.not_idc == len(patches) - cut.idc > 20
    # Where there is no tissue, nothing is cut.
    tissue = shares_of((section.labels > 0) & (section.labels < 5))
    placed = np.zeros(shares.shape, bool)
    placed[[p.y // 50 for p in patches], [p.x // 50 for p in patches]] = True
    assert not placed[tissue == 0].any()
    assert placed[(tissue > 0.5) & ~border].all()
    audit = audit_folder(tmp_path / "out")
    assert {name for name, f in audit.findings.items() if f.count} <= {"near_empty_light"}
    assert (audit.idc, audit.not_idc, audit.whole_sections) == (cut.idc, cut.not_idc, 1)


def test_only_what_was_looked_at_is_cut(section, painted, tmp_path):
    """A ROI of the left 7.3 columns of patches, in two parts, and all tumour outlined within and beyond it."""
    roi = ("Region*", shapely.box(0, 0, 100, 600)), ("ROI", shapely.box(100, 0, 365, 600))
    file = write_outlines(tmp_path / "roi.geojson", *roi, ("IDC", outline(section.labels == TUMOUR)))
    whole = cut_patches(painted, write_outlines(tmp_path / "w.geojson", roi[0], roi[1]), tmp_path / "none", SEES_4_UM)
    cut = cut_patches(painted, file, tmp_path / "out", SEES_4_UM)
    patches = index_patches(tmp_path / "out")
    assert max(p.x for p in patches) == 301
    shares = shares_of(section.labels == TUMOUR)[:, :7]
    assert cut.idc == (shares >= 0.8).sum() > 0
    assert cut.beyond == whole.beyond > 20
    # A file of nothing but a ROI says that there is no IDC in it.
    assert (whole.idc, whole.border) == (0, 0)
    assert whole.not_idc == cut.idc + cut.not_idc + cut.border


def test_the_scale_of_the_slide_changes_nothing(section, painted, tumour, tmp_path):
    """The same section with pixels a quarter the size, and outlines in these."""
    fine = write_slide(tmp_path / "fine.tif", section.pixels.repeat(4, 0).repeat(4, 1), 1.0, compression="deflate")
    outlines = write_outlines(tmp_path / "fine.geojson", ("IDC", outline(section.labels == TUMOUR, scale=4)))
    cut_patches(painted, tumour, tmp_path / "a", SEES_4_UM, patient="p")
    cut_patches(fine, outlines, tmp_path / "b", SEES_4_UM, patient="p")
    both = [{p.path.name: read_patch(p.path) for p in index_patches(tmp_path / n)} for n in "ab"]
    assert both[0].keys() == both[1].keys()
    assert max(np.abs(both[0][n].astype(int) - both[1][n]).max() for n in both[0]) <= 1


def test_patches_are_of_the_model(painted, tumour, tmp_path):
    cut = cut_patches(painted, tumour, tmp_path, numpy_package(patch_size=20, mpp=8.0))
    patches = index_patches(tmp_path)
    assert len(patches) == cut.idc + cut.not_idc
    assert {read_patch(p.path).shape for p in patches} == {(20, 20, 3)}
    assert {p.x % 20 for p in patches} == {p.y % 20 for p in patches} == {1}
    # 375 x 300 pixels of 8 um.
    assert max(p.x for p in patches) <= 361 and max(p.y for p in patches) <= 281


def test_outlines_along_patches_are_the_labels_of_their_patches(painted, tmp_path):
    """What a run outlines and nobody corrects is labelled as the run did, nothing on the border."""
    heatmap = np.random.default_rng(0).random((12, 15))
    file = write_outlines(tmp_path / "regions.geojson", ("IDC", outline(heatmap >= 0.6, scale=50)))
    assert cut_patches(painted, file, tmp_path / "out", SEES_4_UM, rule=Rule(inside=1.0)).border == 0
    patches = index_patches(tmp_path / "out")
    assert len(patches) > 50
    assert [p.label for p in patches] == [heatmap[p.y // 50, p.x // 50] >= 0.6 for p in patches]


@pytest.mark.parametrize(
    ("name", "patient"),
    [("a b, c.svs", "a-b-c"), ("case_7.v2.tif", "case_7.v2"), (".x.tif", "x"), ("Müller.tif", "Müller")],
)
def test_a_patient_is_named_after_the_slide(name, patient):
    assert patient_of(Path("/slides") / name) == patient


def test_several_slides_go_into_one_folder_and_a_patient_once(painted, tumour, tmp_path):
    first = cut_patches(painted, tumour, tmp_path, SEES_4_UM, patient="a").folder
    cut_patches(painted, tumour, tmp_path, SEES_4_UM, patient="b")
    before = {p: p.stat().st_mtime_ns for p in first.rglob("*")}
    with pytest.raises(OutputError, match=r"a: is not empty, so the patient was cut before; give another --patient"):
        cut_patches(painted, tumour, tmp_path, SEES_4_UM, patient="a")
    assert {p: p.stat().st_mtime_ns for p in first.rglob("*")} == before
    assert {p.patient for p in index_patches(tmp_path)} == {"a", "b"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "patches.json"]


def test_patches_of_two_scales_are_not_cut_into_one_folder(painted, tumour, tmp_path):
    coarse = numpy_package(patch_size=20, mpp=8.0)
    cut_patches(painted, tumour, tmp_path / "coarse", coarse, patient="a")
    assert stated_mpp(tmp_path / "coarse") == 8.0
    before = sorted((tmp_path / "coarse").rglob("*"))
    with pytest.raises(OutputError, match="holds patches at 8 um/px, and those of the model test are at 4; choose"):
        cut_patches(painted, tumour, tmp_path / "coarse", SEES_4_UM, patient="b")
    assert sorted((tmp_path / "coarse").rglob("*")) == before
    # Where nothing is stated they are those of Kaggle.
    write_patches(tmp_path / "kaggle", ["8863"])
    with pytest.raises(OutputError, match="holds patches at 4 um/px, and those of the model test are at 8"):
        cut_patches(painted, tumour, tmp_path / "kaggle", coarse)
    assert stated_mpp(tmp_path / "kaggle") is None
    # A patient who is alone there, and is cut anew, leaves nothing of the other scale.
    cut_patches(painted, tumour, tmp_path / "coarse", SEES_4_UM, patient="a", overwrite=True)
    assert stated_mpp(tmp_path / "coarse") == 4.0


@pytest.mark.parametrize("patient", ["", "a b", "a,b", "../a", "a/b", ".a", "a\\b", "a:b"])
def test_names_that_no_patient_can_have(painted, tumour, tmp_path, patient):
    with pytest.raises(DataError, match="cannot name a patient; give --patient"):
        cut_patches(painted, tumour, tmp_path / "out", SEES_4_UM, patient=patient)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("outlines", "fault"),
    [
        ([("Tumor", shapely.box(0, 0, 300, 300)), (None, shapely.box(0, 0, 9, 9))], "but Tumor, no class; name"),
        ([("Tumor", shapely.box(0, 0, 300, 300)), ("ROI", shapely.box(0, 0, 400, 400))], "but ROI, Tumor; name"),
        ([], "but nothing; name the class with --class"),
        ([("IDC", shapely.box(700, 0, 900, 200))], r"outlines lies outside of painted\.tif \(750x600 pixels\)"),
        ([("ROI", shapely.box(0, 0, 30, 600))], r"nothing to cut with .*124 outside of what was looked at"),
    ],
)
def test_outlines_that_do_not_do_leave_nothing(painted, tmp_path, outlines, fault):
    file = write_outlines(tmp_path / "outlines.geojson", *outlines)
    with pytest.raises(DataError, match=fault):
        cut_patches(painted, file, tmp_path / "out", SEES_4_UM)
    assert not (tmp_path / "out" / "painted").exists()


def test_a_slide_that_the_model_cannot_see(painted, tumour, tmp_path, monkeypatch):
    with pytest.raises(SlideError, match=r"at 4 um/px it is coarser than the 1 um/px that the model test sees"):
        cut_patches(painted, tumour, tmp_path, numpy_package(mpp=1.0))
    monkeypatch.setattr(cut_module, "FARTHEST", 700)
    with pytest.raises(DataError, match="more than 700 pixels a side at the 4 um/px"):
        cut_patches(painted, tumour, tmp_path, SEES_4_UM)


def test_what_cannot_be_decoded_on_the_way_leaves_nothing(painted, tumour, tmp_path, monkeypatch):
    read, asked = cut_module.Slide.read, []

    def fail_late(self, x, y, width, height, mpp):
        asked.append(width)
        if asked.count(50) > 30:
            raise SlideError("damaged")
        return read(self, x, y, width, height, mpp)

    monkeypatch.setattr(cut_module.Slide, "read", fail_late)
    with pytest.raises(SlideError, match="damaged"):
        cut_patches(painted, tumour, tmp_path / "out", SEES_4_UM)
    assert not list((tmp_path / "out").iterdir())


def test_the_command_says_what_was_cut(section, painted, tmp_path):
    mask = section.labels == TUMOUR
    file = write_outlines(tmp_path / "t.geojson", ("Tumor", outline(mask)))
    shares = shares_of(mask)
    done = CliRunner().invoke(
        main, ["data", "from-annotations", str(painted), str(file), "-o", str(tmp_path / "out"), "--class", "Tumor"]
    )
    assert done.exit_code == 0, done.output
    n = len(index_patches(tmp_path / "out"))
    idc, border = (shares >= 0.8).sum(), ((shares > 0.2) & (shares < 0.8)).sum()
    assert done.stdout.splitlines() == [
        f"{tmp_path / 'out' / 'painted'}: {n} patches: {n - idc} not IDC, {idc} IDC",
        f"left out, with tissue: {border} on the border, 0 outside of what was looked at, 0 that cannot be decoded",
    ]
    done = CliRunner().invoke(main, ["data", "from-annotations", str(painted), str(file), "-o", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "has no outline of the class IDC, but Tumor" in done.stderr


@pytest.mark.realdata
def test_real_sections_are_cut_again_and_a_shipped_model_trained_further(shared, tmp_path, few_resamples):
    """Sections put together from Kaggle's patches and outlined by their labels give these patches again."""
    pytest.importorskip("keras")
    from wsi_idc.data.split import write_split
    from wsi_idc.training.config import read_config
    from wsi_idc.training.run import train

    patients = ["9124", "14306", "14082"]
    unpack = [sys.executable, shared / "idc" / "unpack.py", tmp_path / "idc", "--patients", *patients]
    subprocess.run(unpack, check=True, capture_output=True)
    for patient in patients:
        own = [p for p in index_patches(tmp_path / "idc", {patient}) if read_patch(p.path).shape == (50, 50, 3)]
        slide = assemble(tmp_path / "idc", patient, tmp_path)
        squares = [shapely.box(p.x - 1, p.y - 1, p.x + 49, p.y + 49) for p in own if p.label]
        file = write_outlines(tmp_path / f"{patient}.geojson", ("IDC", shapely.union_all(squares)))
        cut_patches(slide, file, tmp_path / "cut", find_model("idc-patch"))
        before = {(p.x, p.y): p for p in own}
        after = {(p.x, p.y): p for p in index_patches(tmp_path / "cut", {patient})}
        both = before.keys() & after.keys()
        assert len(both) >= 0.97 * len(before)
        assert all(before[at].label == after[at].label for at in both)
        for at in sorted(both)[::20]:
            np.testing.assert_array_equal(read_patch(before[at].path), read_patch(after[at].path))
    audit = audit_folder(tmp_path / "cut")
    assert (audit.patients, audit.whole_sections) == (3, 3)
    # White places in the corners of a section, where Kaggle has no patch, are all that is wrong with any.
    blank = audit.findings.pop("near_empty_light").count
    assert blank < 0.01 * audit.patches
    same = {"same_pixels_within_patient", "same_pixels_across_patients"}
    assert all(finding.count <= blank * (name in same) for name, finding in audit.findings.items())

    write_split(tmp_path / "lists", {"train": patients[:1], "val": patients[1:], "test": []})
    changes = ["model.init=idc-patch", "fit.epochs=1", "fit.batch_size=32", "data.cache=memory"]
    config = read_config(None, [*changes, f"data.split={tmp_path / 'lists'}", "optimizer.learning_rate=1e-4"])
    result = train(tmp_path / "cut", config, tmp_path / "run")
    assert result["metrics"]["val"]["auc"]["value"] > 0.85
    assert result["architecture"].startswith("idc-patch ")
    assert result["training_data"] == {"patients": 1, "patches": len(index_patches(tmp_path / "cut", {"9124"}))}


@pytest.mark.parametrize("name", ["Ignore*", "ignore*", "Necrosis*", "Ignore*: Necrosis"])
def test_what_ends_in_a_star_is_left_out_and_not_cut_as_no_idc(section, painted, tmp_path, name):
    height, width = section.labels.shape
    tumour = outline(section.labels == TUMOUR)
    left = shapely.box(0, 0, width / 2, height)
    both = write_outlines(tmp_path / "b.geojson", ("IDC", tumour), (name, left))
    cut = cut_patches(painted, both, tmp_path / "out", SEES_4_UM)
    patches = index_patches(tmp_path / "out")
    # Of a patch of 50 pixels at least 40 columns have to lie right of the middle.
    assert patches
    assert all(p.x - 1 + 10 >= width / 2 for p in patches)
    assert cut.beyond > 0
    whole = cut_patches(painted, write_outlines(tmp_path / "w.geojson", ("IDC", tumour)), tmp_path / "w", SEES_4_UM)
    assert cut.idc + cut.not_idc + cut.border + cut.beyond == whole.idc + whole.not_idc + whole.border


def test_classes_that_were_taken_for_no_idc_are_named(section, painted, tmp_path):
    tumour, corner = outline(section.labels == TUMOUR), shapely.box(0, 0, 40, 40)
    drawn = ("IDC", tumour), ("IDC: high grade", corner), ("idc", corner), ("Ignore*", corner), ("ROI", tumour)
    cut = cut_patches(painted, write_outlines(tmp_path / "o.geojson", *drawn), tmp_path / "out", SEES_4_UM)
    assert cut.notes == ("what is outlined as IDC: high grade, idc counts as not IDC",)


def test_an_roi_class_of_ones_own_in_any_case(section, painted, tmp_path):
    height, width = section.labels.shape
    outlines = ("IDC", outline(section.labels == TUMOUR)), ("looked AT", shapely.box(0, 0, width / 2, height))
    file = write_outlines(tmp_path / "o.geojson", *outlines)
    command = ["data", "from-annotations", str(painted), str(file), "-o", str(tmp_path / "out"), "--roi-class"]
    done = CliRunner().invoke(main, [*command, "Looked at"])
    assert done.exit_code == 0, done.output
    assert all(p.x - 1 + 40 <= width / 2 for p in index_patches(tmp_path / "out"))


def test_regions_of_a_run_on_another_slide_are_refused(painted, tumour, tmp_path):

    with Slide(painted) as slide:
        own = slide.fingerprint
    for name, fingerprint in (("own", own), ("other", "0" * 64)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "regions.geojson").write_bytes(tumour.read_bytes())
        summary = least(schema("summary"))
        summary["identity"]["slide_fingerprint"] = fingerprint
        (folder / "summary.json").write_text(json.dumps(summary))
    assert cut_patches(painted, tmp_path / "own", tmp_path / "out", SEES_4_UM).idc > 0
    for outlines in (tmp_path / "other", tmp_path / "other" / "regions.geojson"):
        with pytest.raises(SlideError, match="is not the slide that"):
            cut_patches(painted, outlines, tmp_path / "new", SEES_4_UM)


def test_patches_with_the_colours_that_the_profile_asks_for(painted, tumour, tmp_path, monkeypatch):
    """Colours are corrected where asked, and never without: the model is to be trained on what it will see."""
    given = []
    real = Slide.__init__

    def opened(self, *arguments, **options):
        given.append(options.get("icc"))
        real(self, *arguments, **options)

    monkeypatch.setattr(Slide, "__init__", opened)
    command = ["data", "from-annotations", str(painted), str(tumour), "-o"]
    done = CliRunner().invoke(main, [*command, str(tmp_path / "a"), "--icc", "apply"])
    assert done.exit_code == 0 and "apply" in given
    assert "the colour profile (ICC) of the file is missing" in done.stderr
    given.clear()
    assert CliRunner().invoke(main, [*command, str(tmp_path / "b")]).exit_code == 0
    assert "apply" not in given
