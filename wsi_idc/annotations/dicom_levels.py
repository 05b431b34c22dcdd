"""The levels of a DICOM slide by their headers, with what a DICOM Segmentation of one of them needs."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import VLWholeSlideMicroscopyImageStorage

from wsi_idc.errors import SlideError
from wsi_idc.slides.paths.find import dicom_series

# What every DICOM file has, empty where it is unknown; scanners and converters leave some out.
_MAY_BE_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)


@dataclass(frozen=True, slots=True)
class Level:
    """A level of a DICOM slide: the header of its file, (height, width) in pixels, (row, column) spacing in um."""

    header: Dataset
    shape: tuple[int, int]
    spacing: tuple[float, float]


def read_levels(slide: Path) -> list[Level]:
    """Read the headers of the levels of a DICOM slide, a folder or one of its files, from the finest to the coarsest.

    Raises SlideError where it is no DICOM slide, holds several, or does not state its scale.
    """
    folder = slide if slide.is_dir() else slide.parent
    series = dicom_series(folder) if folder.is_dir() else []
    own = series if slide.is_dir() else [files for files in series if slide in files]
    if len(own) != 1:
        raise SlideError(f"{slide}: is not one DICOM slide; a DICOM Segmentation needs the files that it refers to")
    levels = []
    for file in own[0]:
        try:
            with warnings.catch_warnings():
                # Of UIDs and the like that are not as they should be, but that nothing here depends on.
                warnings.simplefilter("ignore", UserWarning)
                header = pydicom.dcmread(file, stop_before_pixels=True)
            if header.SOPClassUID == VLWholeSlideMicroscopyImageStorage and "VOLUME" in header.ImageType:
                shape = int(header.TotalPixelMatrixRows), int(header.TotalPixelMatrixColumns)
                rows, columns = (1000 * float(s) for s in measures_of(header).PixelSpacing)
                levels.append(Level(header, shape, (rows, columns)))
        except (InvalidDicomError, OSError, AttributeError, IndexError) as error:
            raise SlideError(f"{file}: is no level of a DICOM slide ({error}); get the file again") from error
    if not levels:
        raise SlideError(f"{slide}: has no level with pixels of the slide; give the folder of a DICOM slide")
    return sorted(levels, key=lambda level: level.spacing)


def measures_of(header: Dataset) -> Dataset:
    """Return what a level states of its pixels; raises AttributeError or IndexError where it does not."""
    measures: Dataset = header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    return measures


def complete(header: Dataset) -> None:
    """Fill in what a source may leave out and a segmentation must not; the corner of the slide is the origin then."""
    if not header.get("TotalPixelMatrixOriginSequence"):
        origin = Dataset()
        origin.XOffsetInSlideCoordinateSystem = 0.0
        origin.YOffsetInSlideCoordinateSystem = 0.0
        header.TotalPixelMatrixOriginSequence = [origin]
    for name in _MAY_BE_EMPTY:
        if name not in header:
            setattr(header, name, "")
