"""Which image of a TIFF is the slide by its name, and metadata that are not of the pixels that are there."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsi_idc.errors import SlideError
from wsi_idc.slides.slide import Slide
from wsi_idc.slides.tiff.pages import kind_of, resized

PIXELS = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
OTHER = np.ascontiguousarray(PIXELS[::-1])
TAGS = {"resolution": (2500, 2500), "resolutionunit": "CENTIMETER"}  # 4 um/px
CHANNEL = '<Channel ID="Channel:0:0" SamplesPerPixel="3"/>'
IMAGE = (
    '<Image ID="Image:0"><Pixels DimensionOrder="XYCZT" Type="uint8" SizeX="{width}" SizeY="240" SizeC="3" SizeZ="1" '
    'SizeT="1" {scale}>{channel}<TiffData/></Pixels></Image>'
)


def write_ome(path: Path, xml: str) -> Path:
    tifffile.imwrite(path, PIXELS, photometric="rgb", description=xml.encode(), metadata=None, ome=False, **TAGS)
    return path


def ome(width: int = 320, scale: str = 'PhysicalSizeX="2" PhysicalSizeY="2"', channel: str = CHANNEL) -> str:
    return f"<OME>{IMAGE.format(width=width, scale=scale, channel=channel)}</OME>"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Macro", "macro"),
        ("label image", "label"),
        ("SlideLabel", "label"),
        ("MACROIMAGE", "macro"),
        ("overview_1", "overview"),
        ("section 1, labelled", ""),
        ("macrodissected 7", ""),
        ("unlabelled case 7", ""),
        ("Aperio Image Library v11\r\nlabel 387x463", "label"),
        ("Aperio Image Library v11\r\n4400x3200 (256x256) labelled", ""),
    ],
)
def test_a_name_says_what_an_image_is_by_whole_words(text: str, kind: str) -> None:
    assert kind_of(text) == kind


@pytest.mark.parametrize(("name", "told"), [("macro of section 1", True), ("macro image", False)])
def test_a_scan_that_is_passed_over_by_its_name_is_told(tmp_path: Path, name: str, told: bool) -> None:
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        for pixels, called in ((PIXELS, name), (OTHER, "section 2")):
            facts = {"axes": "YXS", "Name": called, "PhysicalSizeX": 2.0, "PhysicalSizeY": 2.0}
            file.write(pixels, photometric="rgb", metadata=facts)
    with Slide(path) as slide:
        assert np.array_equal(slide.read(0, 0, 320, 240, 2.0), OTHER)
        assert any("image 0 (320 x 240 px)" in w and repr(name) in w for w in slide.warnings) == told
    with Slide(path, series=0) as slide:
        assert np.array_equal(slide.read(0, 0, 320, 240, 2.0), PIXELS)


def test_a_text_that_names_ome_is_no_ome_xml(tmp_path: Path) -> None:
    with Slide(write_ome(tmp_path / "a.tif", "Exported by:OMERO, MPP = 2")) as slide:
        assert slide.mpp.x == 2 and not any("OME-XML" in w for w in slide.warnings)


@pytest.mark.parametrize(
    "xml", [ome(channel=""), ome()[:-9], ome(channel='<Channel ID="Channel:0:0"/>')], ids=["none", "cut", "uncounted"]
)
def test_ome_xml_that_was_not_used_is_told(tmp_path: Path, xml: str) -> None:
    with Slide(write_ome(tmp_path / "a.ome.tif", xml)) as slide:
        assert slide.mpp.x == pytest.approx(4)
        assert any("OME-XML" in w and "was not used" in w for w in slide.warnings)


def test_one_side_of_a_pixel_is_enough(tmp_path: Path) -> None:
    with Slide(write_ome(tmp_path / "a.ome.tif", ome(scale='PhysicalSizeX="2"'))) as slide:
        assert (slide.mpp.x, slide.mpp.y) == (2, 2)
        assert any("4 um/px" in w for w in slide.warnings)


@pytest.mark.parametrize(("width", "told"), [(320, False), (1280, True)])
def test_metadata_of_another_size_are_told(tmp_path: Path, width: int, told: bool) -> None:
    with Slide(write_ome(tmp_path / "a.ome.tif", ome(width))) as slide:
        assert any("320 x 240 px, but its metadata are of 1280 x 240 px" in w for w in slide.warnings) == told


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("320x240 (256x256) JPEG/RGB Q=30|AppMag = 20", False),
        ("46000x32914 [42673,5576 320x240] (240x240) JPEG/RGB Q=30;Aperio Image Library v10\r\n9x9", False),
        ("1280x960 [0,0 1280x960] (256x256) -> 320x240 JPEG/RGB Q=70|MPP = 0.5", True),
        ("1280x960 [0,0 1280x960] (256x256) JPEG/RGB Q=70|MPP = 0.5", True),
        ("without a size", False),
    ],
)
def test_a_description_of_aperio_is_of_the_pixels_there_are(line: str, told: bool) -> None:
    found = resized(f"Aperio Image Library v11.2.1\r\n{line}", 320, 240)
    assert ("320 x 240 px, but its metadata are of 1280 x 960 px" in found) == told and bool(found) == told
    assert resized(line, 320, 240) == ""


@pytest.mark.parametrize(
    ("colours", "order"),
    [
        (("FF0000FF", "00FF00FF", "0000FFFF"), (0, 1, 2)),
        (("0000FFFF", "00FF00FF", "FF0000FF"), (2, 1, 0)),
        ((), (0, 1, 2)),
        (("0000FFFF", "00FF00FF", "FFFF00FF"), None),
    ],
)
def test_planes_without_names_are_told_by_their_colours(
    tmp_path: Path, colours: tuple[str, ...], order: tuple[int, int, int] | None
) -> None:
    stated = [f'Color="{int.from_bytes(bytes.fromhex(c), signed=True)}"' for c in colours] or [""] * 3
    channels = "".join(f'<Channel ID="Channel:0:{i}" SamplesPerPixel="1" {c}/>' for i, c in enumerate(stated))
    planes = np.moveaxis(PIXELS, 2, 0)[list(np.argsort(order or (0, 1, 2)))]
    path = tmp_path / "a.ome.tif"
    xml = ome(channel=channels).encode()
    tifffile.imwrite(path, planes, photometric="minisblack", description=xml, metadata=None, ome=False)
    if order is None:
        with pytest.raises(SlideError, match="not 8-bit RGB"):
            Slide(path)
        return
    with Slide(path) as slide:
        assert np.array_equal(slide.read(0, 0, 320, 240, 2.0), PIXELS)


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
def test_an_image_that_is_to_be_turned_is_told(tmp_path: Path, orientation: int) -> None:
    """OpenSlide 4.0 mirrors each tile for itself, where the image is to be turned."""
    path = tmp_path / "turned.tif"
    tags = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(
        path, PIXELS, photometric="rgb", tile=(64, 64), extratags=tags, resolution=(2500, 2500), resolutionunit=3
    )
    with Slide(path) as slide:
        assert np.array_equal(slide.read(0, 0, 320, 240, 4.0), PIXELS)
        assert [f"orientation {orientation}" in w for w in slide.warnings] == [True] * (orientation > 1)


def test_a_volume_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "volume.tif"
    planes = np.stack([PIXELS, OTHER])
    tifffile.imwrite(path, planes, photometric="rgb", tile=(1, 64, 64), volumetric=True)
    with pytest.raises(SlideError, match=r"volume\.tif: has 2 planes in one image"):
        Slide(path, 1.0)
