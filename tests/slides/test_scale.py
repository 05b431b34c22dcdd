"""Where the scale of a file is found, beside what tests of slides say of the order of claims."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from wsi_idc.errors import ScaleError
from wsi_idc.slides.scale import contradictions, find_claims
from wsi_idc.slides.slide import Slide

PIXELS = np.random.default_rng(1).integers(0, 256, (96, 128, 3), np.uint8)


def write(path: Path, description: str, **options: Any) -> Path:
    tifffile.imwrite(path, PIXELS, photometric="rgb", metadata=None, description=description, **options)
    return path


@pytest.mark.parametrize("layout", [{"tile": (64, 64)}, {"rowsperstrip": 32}], ids=["tiles", "strips"])
@pytest.mark.parametrize(
    ("unit", "per_unit"),
    [
        ("micron", 2.0),
        ("um", 2.0),
        ("\\u00B5m", 2.0),
        ("nm", 0.002),
        ("mm", 2000.0),
        ("cm", 20_000.0),
        ("inch", 50_800.0),
    ],
)
def test_the_unit_of_imagej(tmp_path: Path, layout: dict[str, Any], unit: str, per_unit: float) -> None:
    text = f"ImageJ=1.54f\nunit={unit}\nmin=0\nmax=255\n"
    path = write(tmp_path / "s.tif", text, resolution=(per_unit, per_unit), resolutionunit=1, **layout)
    with Slide(path) as slide:
        assert slide.mpp.x == pytest.approx(0.5, rel=1e-3) and "ImageJ" in slide.mpp.source


@pytest.mark.parametrize("unit", ["pixel", "inverted", ""])
def test_imagej_without_a_unit_of_length_states_no_scale(tmp_path: Path, unit: str) -> None:
    path = write(tmp_path / "s.tif", f"ImageJ=1.54f\nunit={unit}\n", resolution=(2, 2), resolutionunit=1)
    with pytest.raises(ScaleError, match="does not state"):
        Slide(path)


@pytest.mark.parametrize(
    "text",
    [
        "Converted|AppMag = 20|MPP = 0.5|",
        "PhysicalSizeX = 0.5; PhysicalSizeY = 0.5",
        "PhysicalSizeX=500 PhysicalSizeXUnit=nm",
        "pixelWidthMicrons=0.5\npixelHeightMicrons=0.5",
        "pixel width: 0.5 um",
        "<ImageType>FullResolution</ImageType><PixelSizeMicrons>0.5</PixelSizeMicrons>",
        "<field><name>openslide.mpp-x</name> <value type='VipsRefString'>0.5</value></field>",
    ],
)
def test_descriptions_that_state_a_pixel_size(tmp_path: Path, text: str) -> None:
    with Slide(write(tmp_path / "s.tif", text)) as slide:
        assert slide.mpp.x == pytest.approx(0.5) and slide.mpp.source == "image description"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Camera pixel size: 3.45 um; objective 20x", None),
        ("superpixel size: 10", None),
        ("thumb pixel size = 16 um, pixel size = 2 um", (2, 2)),
        ('PhysicalSizeX="2" PhysicalSizeXUnit="um" PhysicalSizeY="4"', (2, 4)),
        ("pixel width: 2 um\npixel height: 4 um", (2, 4)),
        ("<name>openslide.mpp-x</name><value>2</value><name>openslide.mpp-y</name><value>4</value>", (2, 4)),
        ("Pixel size: 2 x 2 um", (2, 2)),
        ("Exposure 3 ms\nEffective pixel size = 2 um", (2, 2)),
        ("Pixel size: 2 x 4 um", (2, 4)),
        ("Pixel size (um): 2", (2, 2)),
        ("mpp: 2", (2, 2)),
        ('{"mpp": 2.0}', (2, 2)),
        ("mpp_x=2;mpp_y=4", (2, 4)),
        ("microns per pixel = 2,0", (2, 2)),
        ("thumbnail mpp: 2", None),
        ('{"PhysicalSizeX": 2000, "PhysicalSizeXUnit": "nm"}', (2, 2)),
    ],
)
def test_words_are_those_of_the_image_and_of_both_its_axes(text: str, expected: tuple[float, float] | None) -> None:
    found = find_claims({"tiff.ImageDescription": text})
    assert [(claim.x, claim.y) for claim in found] == ([expected] if expected else [])


def test_an_objective_that_contradicts_the_pixel_size() -> None:
    facts = {"openslide.vendor": "aperio", "openslide.mpp-x": "2", "openslide.mpp-y": "2"}
    (found,) = contradictions(facts | {"openslide.objective-power": "40"})
    assert "0.25 um/px" in found and "objective power 40" in found and "2 um/px" in found and "--mpp" in found
    for power, mpp in (("40", "0.25"), ("20", "0.5"), ("40", "0.17"), ("20", "0.74"), ("40", "0.36")):
        stated = {"openslide.mpp-x": mpp, "openslide.mpp-y": mpp, "openslide.objective-power": power}
        assert contradictions(facts | stated) == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"tiff.XResolution": "3571.43", "tiff.YResolution": "3571.43"}, "2.8 um/px by its TIFF resolution tags"),
        ({"tiff.XResolution": "4760", "tiff.YResolution": "4760"}, "2.101 um/px"),
        ({"tiff.XResolution": "5000", "tiff.YResolution": "4000"}, "2 x 2.5 um/px"),
        ({"tiff.XResolution": "4900", "tiff.YResolution": "4900"}, ""),
        ({"dicom.ImagedVolumeWidth": "2.8", "dicom.ImagedVolumeHeight": "5.6"}, "2.8 um/px by its DICOM imaged volume"),
        ({"dicom.ImagedVolumeWidth": "2.01", "dicom.ImagedVolumeHeight": "4"}, ""),
    ],
)
def test_what_a_file_states_twice_is_to_agree_but_for_rounding(other: dict[str, str], said: str) -> None:
    facts = {"openslide.vendor": "dicom", "openslide.mpp-x": "2", "openslide.mpp-y": "2"}
    facts |= {"dicom.TotalPixelMatrixColumns": "1000", "dicom.TotalPixelMatrixRows": "2000"}
    found = contradictions(facts | {"tiff.ResolutionUnit": "centimeter"} | other)
    assert len(found) == bool(said) and all(said in one and "2 um/px by its metadata" in one for one in found)


def test_dicom_without_pixel_spacing_has_the_scale_of_its_volume() -> None:
    facts = {"openslide.vendor": "dicom", "openslide.objective-power": "20", "dicom.ImagedVolumeWidth": "2"}
    facts |= {"dicom.TotalPixelMatrixColumns": "1000", "dicom.TotalPixelMatrixRows": "2000"}
    claim = find_claims(facts | {"dicom.ImagedVolumeHeight": "4"})[0]
    assert (claim.x, claim.y, claim.source, claim.estimated) == (2, 2, "DICOM imaged volume", False)


def test_the_description_of_ome_is_not_taken_for_that_of_the_image() -> None:
    """It is of all images of the file."""
    objective = '<Instrument><Objective NominalMagnification="1"/></Instrument>'
    xml = f'<OME><Image><Pixels PhysicalSizeX="16.0"/></Image>{objective}</OME>'
    claims = find_claims({"tiff.ImageDescription": xml, "ome.mpp-x": "0.5", "ome.mpp-y": "0.5"})
    assert [claim.x for claim in claims] == [0.5]


def test_a_scale_for_slides_that_state_none(tmp_path: Path) -> None:
    stated = write(tmp_path / "stated.tif", "|MPP = 0.5")
    bare, screen = tmp_path / "bare.tif", tmp_path / "screen.tif"
    tifffile.imwrite(bare, PIXELS, photometric="rgb", metadata=None)
    tifffile.imwrite(screen, PIXELS, photometric="rgb", metadata=None, resolution=(72, 72), resolutionunit=2)
    power = write(tmp_path / "power.tif", "|AppMag = 40")
    for path, mpp, given in ((stated, 0.5, None), (bare, 0.4, 0.4), (screen, 0.4, 0.4), (power, 0.25, None)):
        with Slide(path, mpp_missing=0.4) as slide:
            assert (slide.mpp.x, slide.given_mpp, slide.warnings) == (mpp, given, ())
    with Slide(bare, mpp_missing=0.4) as slide:
        assert slide.mpp.source == "--mpp-missing"


@pytest.mark.parametrize(
    ("text", "given", "warned"),
    [
        ("|MPP = 0.5", 0.5, False),
        ("|MPP = 0.5", 0.503, False),
        ("|MPP = 0.5", 0.51, True),
        ("|AppMag = 40", 0.23, False),
        ("|AppMag = 40", 0.5, True),
        ("|MPP = 352", 0.5, False),
    ],
)
def test_a_scale_in_place_of_what_the_file_states_is_warned_of(
    tmp_path: Path, text: str, given: float, warned: bool
) -> None:
    with Slide(write(tmp_path / "s.tif", text), given) as slide:
        assert len(slide.warnings) == warned
        assert slide.mpp.x == given
