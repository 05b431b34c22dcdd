"""Outlines of IDC as a DICOM Segmentation of the slide that they lie on, for slides that are DICOM."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import highdicom as hd
import numpy as np
import shapely
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from wsi_idc.annotations.dicom_levels import Level, complete, measures_of, read_levels
from wsi_idc.annotations.raster import centres_inside
from wsi_idc.base.files import replacing
from wsi_idc.models.package import ModelPackage

# As QuPath shows the class.
_RED = (200, 0, 0)
_TILE = 512
# A level up to 1 % coarser than asked still serves: vendors round 4.002x to "4x".
_LEVEL_TOLERANCE = 1.01
# Segmentations must state how thick the section is; most are cut at 4 um. In mm, for sources that do not say.
_THICKNESS = 0.004


def write_segmentation(
    path: Path,
    outlines: Sequence[shapely.Geometry],
    slide: Path,
    *,
    model: ModelPackage | None,
    mpp: float = 4.0,
) -> Level:
    """Write outlines of IDC, in level-0 pixels, as a binary DICOM Segmentation with one segment; return its level.

    It has the pixels of a level of the DICOM `slide`, a folder or a file of it, and refers to that: the coarsest level
    that is not coarser than `mpp` um per pixel. A pixel is IDC where its centre lies inside. `model` is what found the
    outlines; None says that they were drawn by hand. The same outlines, slide and model give the same UIDs.

    What the source leaves out is filled in as unknown: patient and study are empty, the origin on the slide is 0, and
    the section is 4 um thick. Raises SlideError where `slide` is no DICOM slide or states no scale, OutputError where
    `path` cannot be written.
    """
    levels = read_levels(slide)
    fine = [level for level in levels if max(level.spacing) <= mpp * _LEVEL_TOLERANCE]
    level = fine[-1] if fine else levels[0]
    segmentation = _segmentation(level, rasterise(outlines, level, levels[0]), model)
    with replacing(path) as temporary:
        segmentation.save_as(temporary)
    return level


def _segmentation(level: Level, mask: np.ndarray, model: ModelPackage | None) -> hd.seg.Segmentation:
    """Make the DICOM object of a mask (height, width) of a level."""
    complete(level.header)
    seed = hashlib.sha256(mask.tobytes()).hexdigest()
    origin = [seed, str(level.header.SOPInstanceUID), model.sha256 if model else "", version("wsi-idc")]
    thickness = measures_of(level.header).get("SliceThickness", _THICKNESS)
    segmentation = hd.seg.Segmentation(
        [level.header],
        mask[None].astype(np.uint8),
        hd.seg.SegmentationTypeValues.BINARY,
        [_describe(model)],
        series_instance_uid=generate_uid(entropy_srcs=["series", *origin]),
        series_number=1,
        sop_instance_uid=generate_uid(entropy_srcs=["instance", *origin]),
        instance_number=1,
        manufacturer="wsi-idc",
        manufacturer_model_name="wsi-idc",
        software_versions=version("wsi-idc"),
        device_serial_number="none",
        content_label="IDC",
        content_description="Invasive ductal carcinoma",
        series_description="Invasive ductal carcinoma",
        pixel_measures=hd.PixelMeasuresSequence([s / 1000 for s in level.spacing], thickness),
        # Each tile states its place, so that those without IDC can be left out.
        dimension_organization_type=hd.DimensionOrganizationTypeValues.TILED_SPARSE,
        omit_empty_frames=bool(mask.any()),
        tile_pixel_array=True,
        tile_size=(_TILE, _TILE),
    )
    # Of a slide it is unknown, and has to be stated as such.
    segmentation.PatientOrientation = None
    return segmentation


def rasterise(outlines: Sequence[shapely.Geometry], level: Level, base: Level) -> np.ndarray:
    """Return (height, width) bool of a level: whether the centre of a pixel lies inside; outlines in pixels of `base`.

    A centre on the outline itself lies outside.
    """
    mask = np.zeros(level.shape, bool)
    down, across = (coarse / fine for fine, coarse in zip(base.spacing, level.spacing, strict=True))
    for part in shapely.get_parts(list(outlines)):
        around, inside = centres_inside(part, (across, down), level.shape)
        mask[around] |= inside
    return mask


def _describe(model: ModelPackage | None) -> hd.seg.SegmentDescription:
    """Describe the segment in SNOMED CT, and what found it."""
    algorithm = None
    if model:
        algorithm = hd.AlgorithmIdentificationSequence(
            name=f"wsi-idc {model.name}",
            family=codes.DCM.ArtificialIntelligence,
            version=model.version,
            source="wsi-idc",
            parameters={"model_sha256": model.sha256},
        )
    kinds = hd.seg.SegmentAlgorithmTypeValues
    return hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="IDC",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.InfiltratingDuctCarcinoma,
        algorithm_type=kinds.AUTOMATIC if model else kinds.MANUAL,
        algorithm_identification=algorithm,
        anatomic_regions=[codes.SCT.Breast],
        display_color=hd.color.CIELabColor.from_rgb(*_RED),
    )
