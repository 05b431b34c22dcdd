"""DICOM Segmentations, read back with highdicom and pydicom alone."""

import hashlib
import shutil
import subprocess

import numpy as np
import pytest
import shapely

from wsi_idc.errors import SlideError

from helpers import numpy_package

hd = pytest.importorskip("highdicom")

import pydicom  # noqa: E402
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, VLWholeSlideMicroscopyImageStorage, generate_uid  # noqa: E402

from wsi_idc.annotations.dicom_levels import Level, read_levels  # noqa: E402
from wsi_idc.annotations.formats.dicom_seg import rasterise, write_segmentation  # noqa: E402

MODEL = numpy_package()


def write_level(path, size, um, **changes):
    """Write a DICOM level of white, one tile of (width, height) pixels of `um` um, with little metadata."""
    width, height = size
    measures, groups, meta, level = Dataset(), Dataset(), FileMetaDataset(), Dataset()
    measures.PixelSpacing = [um / 1000, um / 1000]
    groups.PixelMeasuresSequence = [measures]
    level.SOPClassUID = meta.MediaStorageSOPClassUID = VLWholeSlideMicroscopyImageStorage
    level.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    level.StudyInstanceUID, level.SeriesInstanceUID, level.FrameOfReferenceUID = "1.2.3", "1.2.4", "1.2.5"
    level.Modality, level.ImageType = "SM", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    level.DimensionOrganizationType = "TILED_FULL"
    level.NumberOfFrames = 1
    level.Rows = level.TotalPixelMatrixRows = height
    level.Columns = level.TotalPixelMatrixColumns = width
    level.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    level.SharedFunctionalGroupsSequence = [groups]
    level.SamplesPerPixel, level.PhotometricInterpretation, level.PlanarConfiguration = 3, "RGB", 0
    level.BitsAllocated, level.BitsStored, level.HighBit, level.PixelRepresentation = 8, 8, 7, 0
    level.PixelData = b"\xff" * (3 * width * height)
    level.update(changes)
    level.file_meta = meta
    pydicom.dcmwrite(path, level, enforce_file_format=True)


@pytest.fixture
def slide(tmp_path):
    """A slide of 1 um/px with levels of 2, 4 and 8 um/px, and a label image, in an order that names do not tell."""
    folder = tmp_path / "slide"
    folder.mkdir()
    for name, factor in (("c", 1), ("a", 4), ("d", 2), ("b", 8)):
        write_level(folder / f"{name}.dcm", (1200 // factor, 800 // factor), float(factor))
    write_level(folder / "e.dcm", (20, 20), 50.0, ImageType=["ORIGINAL", "PRIMARY", "LABEL", "NONE"])
    return folder


def mask_of(path):
    found = hd.seg.segread(path)
    return found, found.get_total_pixel_matrix(combine_segments=True).astype(bool)


def test_what_is_written_is_read_back(slide, tmp_path):
    """A square with a hole and a part beyond the slide, whose pixels of 4 um are counted by hand."""
    square = shapely.box(40, 80, 240, 280).difference(shapely.box(80, 120, 120, 160))
    level = write_segmentation(tmp_path / "s.dcm", [square, shapely.box(1180, 780, 1300, 900)], slide, model=MODEL)
    assert (level.shape, level.spacing) == ((200, 300), (4.0, 4.0))
    expected = np.zeros((200, 300), bool)
    expected[20:70, 10:60] = True
    expected[30:40, 20:30] = False
    expected[195:, 295:] = True
    found, mask = mask_of(tmp_path / "s.dcm")
    np.testing.assert_array_equal(mask, expected)

    source = pydicom.dcmread(slide / "a.dcm")
    assert [tuple(map(str, uids)) for uids in found.get_source_image_uids()] == [
        (source.StudyInstanceUID, source.SeriesInstanceUID, source.SOPInstanceUID)
    ]
    assert found.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert found.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing == [0.004, 0.004]
    (segment,) = (found.get_segment_description(n) for n in found.segment_numbers)
    assert (segment.segmented_property_type.value, segment.segmented_property_type.scheme_designator) == (
        "82711006",
        "SCT",
    )
    assert segment.algorithm_type.value == "AUTOMATIC"
    assert segment.algorithm_identification.name == "wsi-idc test"
    assert segment.algorithm_identification.parameters == {"model_sha256": "0" * 64}
    # pydicom alone: bits are packed, the first lowest, and padded to whole tiles of 512.
    plain = pydicom.dcmread(tmp_path / "s.dcm")
    bits = np.unpackbits(np.frombuffer(plain.PixelData, np.uint8), bitorder="little")[: 512 * 512]
    np.testing.assert_array_equal(bits.reshape(512, 512)[:200, :300], expected)


def test_the_level_is_that_of_the_scale(slide, tmp_path):
    area = [shapely.box(0, 0, 600, 800)]
    for mpp, um in ((1.0, 1.0), (3.0, 2.0), (100.0, 8.0), (0.5, 1.0)):
        level = write_segmentation(tmp_path / "s.dcm", area, slide, model=None, mpp=mpp)
        assert level.spacing == (um, um)
        _, mask = mask_of(tmp_path / "s.dcm")
        assert mask[:, : mask.shape[1] // 2].all()
        assert not mask[:, mask.shape[1] // 2 :].any()
    # A file of the slide names it as well as its folder.
    assert [v.spacing[0] for v in read_levels(slide / "b.dcm")] == [1.0, 2.0, 4.0, 8.0]


def test_tiles_without_idc_are_left_out(slide, tmp_path):
    """At 1 um/px the slide is 1200 x 800 pixels: 3 x 2 tiles of 512."""
    for area, frames in ((shapely.box(0, 0, 600, 800), 4), (shapely.box(1100, 700, 1200, 800), 1)):
        write_segmentation(tmp_path / "s.dcm", [area], slide, model=MODEL, mpp=1.0)
        found, mask = mask_of(tmp_path / "s.dcm")
        assert found.NumberOfFrames == frames
        assert mask.shape == (800, 1200)
        assert mask.sum() == area.area


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy, of dicom3tools, is not installed")
@pytest.mark.parametrize("model", [MODEL, None])
@pytest.mark.parametrize("outlines", [[shapely.box(0, 0, 600, 800)], []])
def test_a_validator_finds_no_error(slide, tmp_path, model, outlines):
    write_segmentation(tmp_path / "s.dcm", outlines, slide, model=model)
    done = subprocess.run(["dciodvfy", "-new", tmp_path / "s.dcm"], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert "Segmentation" in lines
    # Warnings are of the patient and study that this source does not name.
    assert [line for line in lines if "Error" in line] == []


def test_outlines_drawn_by_hand_name_no_algorithm(slide, tmp_path):
    write_segmentation(tmp_path / "s.dcm", [shapely.box(0, 0, 100, 100)], slide, model=None)
    segment = mask_of(tmp_path / "s.dcm")[0].get_segment_description(1)
    assert segment.algorithm_type.value == "MANUAL"
    assert segment.algorithm_identification is None


def test_no_outlines_are_an_empty_mask(slide, tmp_path):
    write_segmentation(tmp_path / "s.dcm", [], slide, model=MODEL)
    _, mask = mask_of(tmp_path / "s.dcm")
    assert mask.shape == (200, 300)
    assert not mask.any()


def test_the_same_is_known_again(slide, tmp_path):
    def uids(side, model=MODEL):
        write_segmentation(tmp_path / "s.dcm", [shapely.box(0, 0, side, side)], slide, model=model)
        written = pydicom.dcmread(tmp_path / "s.dcm")
        return written.SOPInstanceUID, written.SeriesInstanceUID

    assert uids(100) == uids(100)
    assert len({*uids(100), *uids(200), *uids(100, None)}) == 6


def test_centres_decide(slide):
    """A circle: pixels are those whose centre is nearer than the radius; the polygon is within 0.1 % of it."""
    header = Dataset()
    base, level = Level(header, (400, 400), (0.5, 0.5)), Level(header, (100, 90), (2.0, 2.0))
    mask = rasterise([shapely.Point(200, 190).buffer(150, quad_segs=256)], level, base)
    y, x = np.mgrid[:100, :90] + 0.5
    distance = np.hypot(x - 50, y - 47.5)
    assert mask[distance < 37.4].all()
    assert not mask[distance > 37.5].any()


def test_what_is_no_dicom_slide(slide, tmp_path):
    with pytest.raises(SlideError, match="is not one DICOM slide"):
        read_levels(tmp_path / "painted.tif")
    before = [level.shape for level in read_levels(slide)]
    # Files are known by their content: without the mark of DICOM one is not of the slide, whatever its name.
    (slide / "broken.dcm").write_bytes((slide / "a.dcm").read_bytes()[130:])
    assert [level.shape for level in read_levels(slide)] == before


@pytest.mark.realdata
def test_a_real_dicom_slide(shared, tmp_path):
    folder = shared / "slides" / "dicom" / "cmu-1-small-region"
    before = {p: hashlib.sha256(p.read_bytes()).digest() for p in folder.iterdir()}
    outline = shapely.box(401, 802, 1203, 2004).difference(shapely.box(600, 1000, 800, 1200))
    level = write_segmentation(tmp_path / "s.dcm", [outline], folder, model=MODEL)
    assert level.spacing == pytest.approx((3.992, 3.992))
    found, mask = mask_of(tmp_path / "s.dcm")
    assert mask.shape == (370, 277)
    # Pixels of 8 level-0 pixels; centres lie at 8 n + 4.
    expected = np.zeros_like(mask)
    expected[100:250, 50:150] = True
    expected[125:150, 75:100] = False
    np.testing.assert_array_equal(mask, expected)
    source = pydicom.dcmread(folder / "level-3-frames-0-1.dcm", stop_before_pixels=True)
    assert found.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert found.get_source_image_uids()[0][2] == source.SOPInstanceUID
    assert {p: hashlib.sha256(p.read_bytes()).digest() for p in folder.iterdir()} == before
