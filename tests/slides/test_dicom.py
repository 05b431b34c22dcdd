"""DICOM slides by content: files without a suffix, levels padded to whole tiles."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsi_idc.errors import SlideError
from wsi_idc.slides.dicom import is_dicom_slide, level_downsamples, slide_headers
from wsi_idc.slides.paths.find import RULE, dicom_series, find_slides
from wsi_idc.slides.slide import Slide

pydicom = pytest.importorskip("pydicom")

from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, VLWholeSlideMicroscopyImageStorage, generate_uid  # noqa: E402

# A slide of 300 x 200 px whose smooth colours survive being halved.
Y, X = np.indices((200, 300))
FULL = np.stack([X * 0.8, Y * 1.2, 255 - X * 0.5], -1).astype(np.uint8)
SERIES = "1.2.826.0.1.3680043.8.498.1"


def write_level(path: Path, pixels: np.ndarray, um: float, tile: int, series: str = SERIES, **changes: Any) -> None:
    """Write a level, uncompressed, padded with white to whole tiles; its header states the padded size."""
    high, wide = (-(-side // tile) for side in pixels.shape[:2])
    padded = np.full((high * tile, wide * tile, 3), 255, np.uint8)
    padded[: pixels.shape[0], : pixels.shape[1]] = pixels
    measures, groups, meta, level, path_of_light = Dataset(), Dataset(), FileMetaDataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [um / 1000, um / 1000], 0.001
    groups.PixelMeasuresSequence = [measures]
    path_of_light.OpticalPathIdentifier, path_of_light.ObjectiveLensPower = "0", "20"
    level.SOPClassUID = meta.MediaStorageSOPClassUID = VLWholeSlideMicroscopyImageStorage
    level.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    level.StudyInstanceUID, level.SeriesInstanceUID, level.FrameOfReferenceUID = "1.2.3", series, "1.2.5"
    level.Modality = "SM"
    level.ImageType = [
        "ORIGINAL" if um == 0.5 else "DERIVED",
        "PRIMARY",
        "VOLUME",
        "NONE" if um == 0.5 else "RESAMPLED",
    ]
    level.DimensionOrganizationType = "TILED_FULL"
    level.NumberOfFrames, level.Rows, level.Columns = high * wide, tile, tile
    level.TotalPixelMatrixRows, level.TotalPixelMatrixColumns = padded.shape[:2]
    level.TotalPixelMatrixFocalPlanes, level.NumberOfOpticalPaths = 1, 1
    level.ImagedVolumeWidth, level.ImagedVolumeHeight = padded.shape[1] * um / 1000, padded.shape[0] * um / 1000
    level.OpticalPathSequence, level.SharedFunctionalGroupsSequence = [path_of_light], [groups]
    level.SamplesPerPixel, level.PhotometricInterpretation, level.PlanarConfiguration = 3, "RGB", 0
    level.BitsAllocated, level.BitsStored, level.HighBit, level.PixelRepresentation = 8, 8, 7, 0
    level.update(changes)
    blocks = padded.reshape(high, tile, wide, tile, 3).swapaxes(1, 2)
    level.PixelData = np.ascontiguousarray(blocks).tobytes()
    level.file_meta = meta
    pydicom.dcmwrite(path, level, enforce_file_format=True)


def write_slide(folder: Path, names: list[str], tile: int = 64, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    for i, name in enumerate(names):
        by = 2**i
        write_level(folder / name, FULL[: 200 // by * by : by, : 300 // by * by : by], 0.5 * by, tile, **changes)
    return folder


def test_levels_padded_to_whole_tiles_are_where_they_belong(tmp_path: Path) -> None:
    """320 x 256, then 192 x 128 and 128 x 64: halves of 300 x 200 in tiles of 64."""
    folder = write_slide(tmp_path / "slide", ["0.dcm", "1.dcm", "2.dcm"])
    with Slide(folder) as slide:
        assert [(v["width"], v["downsample"]) for v in slide.describe()["levels"]] == [(320, 1), (192, 2), (128, 4)]
        fine, coarse = slide.read(0, 0, 144, 96, 1.0), slide.read(0, 0, 72, 48, 2.0)
        means = fine.reshape(48, 2, 72, 2, 3).mean((1, 3))
        assert np.abs(means - coarse).max() <= 4


def test_a_level_whose_spacing_contradicts_its_size_is_not_used(tmp_path: Path) -> None:
    folder = write_slide(tmp_path / "slide", ["0.dcm", "1.dcm"])
    write_level(folder / "2.dcm", FULL[::4, ::4], 8.0, 64)
    assert level_downsamples(slide_headers(folder / "0.dcm"), [(320, 256), (192, 128), (128, 64)]) == {(192, 128): 2}


@pytest.mark.parametrize("names", [["IM000001", "IM000002"], ["1.2.840.1", "1.2.840.2"], ["a.dicom", "b.DICOM"]])
def test_files_without_a_suffix_are_found_by_content(tmp_path: Path, names: list[str]) -> None:
    folder = write_slide(tmp_path / "case" / "slide", names)
    (folder / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (folder / "LICENSE").write_text("text")
    (folder / "._IM000001").write_bytes((folder / names[0]).read_bytes()[:4096])
    write_level(folder / "report", FULL[:64, :64], 1.0, 64)
    data = (folder / "report").read_bytes()
    other_class = b"1.2.840.10008.5.1.4.1.1.88.33\0"
    (folder / "report").write_bytes(data.replace(b"1.2.840.10008.5.1.4.1.1.77.1.6", other_class))
    assert is_dicom_slide(folder / names[0]) and is_dicom_slide(folder / "report") is False
    assert find_slides([folder]) == find_slides([folder.parent]) == find_slides([tmp_path], recursive=True) == [folder]
    with Slide(folder) as slide:
        assert slide.size == (320, 256) and slide.mpp.x == pytest.approx(0.5)


def test_two_series_in_one_folder_without_suffixes(tmp_path: Path) -> None:
    folder = write_slide(tmp_path / "a", ["IM1", "IM2"])
    write_slide(tmp_path / "b", ["IM3", "IM4"], series="1.2.9")
    for name in ("IM3", "IM4"):
        shutil.move(tmp_path / "b" / name, folder / name)
    assert find_slides([folder]) == [folder / "IM1", folder / "IM3"]


def test_the_rule_names_what_is_passed_over() -> None:
    for word in (".qptiff", ".dcm", "._*", "DICOMDIR", "without a suffix"):
        assert word in RULE


def test_a_tile_that_no_decoder_can_hold_is_refused(tmp_path: Path) -> None:
    folder = write_slide(tmp_path / "slide", ["0.dcm"], Rows=65_000, Columns=65_000)
    with pytest.raises(SlideError, match=r"0\.dcm: it claims tiles of 65000 x 65000 px"):
        Slide(folder)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"TotalPixelMatrixFocalPlanes": 3}, r"1\.dcm: it has 3 focal planes, .* export one of them"),
        ({"NumberOfOpticalPaths": 2}, r"1\.dcm: it has 2 optical paths, .* export one of them"),
        # OpenSlide 4.0 ends the process for it.
        ({"DimensionOrganizationType": "TILED_SPARSE"}, r"1\.dcm: its tiles are scattered, .* export it anew"),
        ({"Rows": 32_000, "Columns": 32_000}, r"1\.dcm: it claims tiles of 32000 x 32000 px"),
    ],
)
def test_what_openslide_declines_or_dies_of_is_said_of_any_file_of_the_slide(tmp_path: Path, changes, why) -> None:
    folder = write_slide(tmp_path / "slide", ["0.dcm"])
    write_level(folder / "1.dcm", FULL[::2, ::2], 1.0, 64, **changes)
    with pytest.raises(SlideError, match=why):
        Slide(folder / "0.dcm")


def test_a_level_twice_is_named(tmp_path: Path) -> None:
    folder = write_slide(tmp_path / "slide", ["0.dcm", "1.dcm"])
    write_level(folder / "copy.dcm", FULL, 0.5, 64)
    with pytest.raises(SlideError, match=r"copy\.dcm: 0\.dcm in the same series is as large, 320 x 256 px"):
        Slide(folder)
    # Another image of the glass may have any size.
    write_level(folder / "copy.dcm", FULL, 0.5, 64, ImageType=["ORIGINAL", "PRIMARY", "LABEL", "NONE"])
    Slide(folder).close()


def test_a_header_is_read_to_its_end_whatever_lies_before_it(tmp_path: Path) -> None:
    """A colour profile larger than a megabyte, numbers that end as text does, a sequence of unknown representation."""
    unknown = Dataset()
    unknown.Rows, unknown.SeriesInstanceUID = 7, "1.2.99"
    write_level(tmp_path / "0.dcm", FULL, 0.5, 64, FrameOfReferenceUID="1.2.5", ICCProfile=b"\2" * 3_000_000)
    found = pydicom.dcmread(tmp_path / "0.dcm")
    found.add_new(0x00091001, "SQ", [unknown])
    found["00091001"].is_undefined_length = True
    found.TotalPixelMatrixColumns, found.PixelSpacing = 0x2000, [9, 9]
    del found.PixelSpacing
    found.save_as(tmp_path / "0.dcm")
    data = (tmp_path / "0.dcm").read_bytes()
    of_sequence = struct.pack("<HH2sHI", 9, 0x1001, b"SQ", 0, 0xFFFFFFFF)
    assert data.count(of_sequence) == 1
    begin = data.index(of_sequence)
    end = data.index(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0), begin)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    implicit = struct.pack("<HHIH", 0x28, 0x10, 2, 7) + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    changed = of_sequence.replace(b"SQ", b"UN") + item + implicit
    (tmp_path / "0.dcm").write_bytes(data[:begin] + changed + data[end:])
    assert level_downsamples(slide_headers(tmp_path / "0.dcm"), [(0x2000, 256), (0x1000, 128)]) == {(0x1000, 128): 2}
    assert dicom_series(tmp_path) == [[tmp_path / "0.dcm"]]


@pytest.mark.parametrize("open_ended", [True, False])
def test_a_series_that_is_referred_to_is_not_that_of_the_slide(tmp_path: Path, open_ended: bool) -> None:
    referred = Dataset()
    referred.SeriesInstanceUID = "1.2.99"
    referred.is_undefined_length_sequence_item = open_ended
    for number in (1, 2):
        write_level(
            tmp_path / f"{number}.dcm", FULL, 2.0, 64, f"{SERIES}.{number}", ReferencedSeriesSequence=[referred]
        )
    for path in tmp_path.iterdir():
        found = pydicom.dcmread(path)
        found["ReferencedSeriesSequence"].is_undefined_length = open_ended
        found.save_as(path)
    assert find_slides([tmp_path]) == [tmp_path / "1.dcm", tmp_path / "2.dcm"]
