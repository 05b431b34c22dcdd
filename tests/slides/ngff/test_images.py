"""Stores of several images: what Bio-Formats converts, several multiscales, and where they are found."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import zarr
from click.testing import CliRunner

import wsi_idc
from wsi_idc.cli.info import info
from wsi_idc.errors import DataError, SlideError
from wsi_idc.slides.ngff.multiscales import _along as along
from wsi_idc.slides.paths.address import SlideAddress
from wsi_idc.slides.paths.find import find_slides
from wsi_idc.slides.paths.series import with_series
from wsi_idc.slides.slide import Slide

from stores import change_attributes, multiscale, write_group, write_image, write_level

RNG = np.random.default_rng(11)
SCAN = RNG.integers(0, 256, (300, 420, 3), np.uint8)
OTHER = RNG.integers(0, 256, (280, 400, 3), np.uint8)
PHOTO = RNG.integers(0, 256, (90, 200, 3), np.uint8)
XML = """<?xml version="1.0"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
<Instrument ID="Instrument:0"><Objective ID="Objective:0" NominalMagnification="20.0"/></Instrument>
{images}</OME>"""
IMAGE = """<Image ID="Image:{number}" Name="{name}"><ObjectiveSettings ID="Objective:0"/><Pixels ID="Pixels:{number}"
 DimensionOrder="XYCZT" Type="uint8" SizeX="9" SizeY="9" SizeZ="1" SizeC="3" SizeT="1" PhysicalSizeX="{mpp}"
 PhysicalSizeY="{mpp}"><Channel ID="Channel:0" SamplesPerPixel="3"/><MetadataOnly/></Pixels></Image>"""


def collection(folder: Path, version: str, *images: tuple[str, np.ndarray, float], unit: str | None = "um") -> Path:
    """Write a store as bioformats2raw does: a group for each image, and OME/METADATA.ome.xml."""
    write_group(folder, {"bioformats2raw.layout": 3}, version)
    for number, (_, pixels, mpp) in enumerate(images):
        one = multiscale("tczyx", mpp if unit else 1.0, (1, 2), unit) | {"version": version}
        write_image(folder / str(number), pixels, mpp, version=version, change=one)
    write_group(folder / "OME", {"series": [str(n) for n in range(len(images))]}, version)
    described = "".join(IMAGE.format(number=n, name=name, mpp=mpp) for n, (name, _, mpp) in enumerate(images))
    (folder / "OME" / "METADATA.ome.xml").write_text(XML.format(images=described))
    return folder


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_converted_slide_with_label_and_macro(tmp_path: Path, version: str) -> None:
    images = [("label image", PHOTO, 8.0), ("", SCAN, 0.5), ("macro image", OTHER, 0.5)]
    path = collection(tmp_path / "a.zarr", version, *images)
    with Slide(path) as slide:
        assert np.array_equal(slide.read(0, 0, 420, 300, 0.5), SCAN)
        assert [i["role"] for i in slide.images] == ["label", "slide", "macro"] and slide.warnings == ()
        assert slide.describe()["objective_power"] == 20
    with Slide(path / "1") as inner:
        assert inner.size == (420, 300) and inner.describe()["objective_power"] == 20


def test_several_scans_are_named_and_can_be_asked_for(tmp_path: Path) -> None:
    path = collection(tmp_path / "a.ome.zarr", "0.4", ("one", OTHER, 0.5), ("two", SCAN, 0.5))
    with Slide(path) as slide:
        assert slide.size == (420, 300)
        assert "holds 2 images that may be scans; image 1 was looked at, not 0 (400 x 280 px)" in slide.warnings[0]
    with Slide(path, series=0) as slide:
        assert np.array_equal(slide.read(0, 0, 400, 280, 0.5), OTHER)
    with pytest.raises(SlideError, match="there is no image 2; the file holds the images 0 to 1"):
        Slide(path, series=2)
    both = with_series([path], None)
    assert both == [Path(f"{path}::series={n}") for n in (0, 1)]
    assert [SlideAddress.of(one).stem for one in both] == ["a.ome-series-0", "a.ome-series-1"]


def test_the_xml_gives_a_scale_where_the_attributes_do_not(tmp_path: Path) -> None:
    with Slide(collection(tmp_path / "a.zarr", "0.4", ("", SCAN, 0.5), unit=None)) as slide:
        assert (slide.mpp.x, slide.mpp.source) == (0.5, "OME PhysicalSize")


def test_the_xml_contradicts_the_attributes(tmp_path: Path) -> None:
    path = collection(tmp_path / "a.zarr", "0.5", ("", SCAN, 0.5))
    file = path / "OME" / "METADATA.ome.xml"
    file.write_text(file.read_text().replace('PhysicalSizeX="0.5"', 'PhysicalSizeX="0.25"'))
    file.write_text(file.read_text().replace('PhysicalSizeY="0.5"', 'PhysicalSizeY="0.25"'))
    with Slide(path) as slide:
        assert slide.mpp.x == 0.5
        assert "0.25 um/px by its OME PhysicalSize, but 0.5 um/px by its OME-Zarr scale" in slide.warnings[0]


def test_the_xml_tells_that_channels_are_stains(tmp_path: Path) -> None:
    path = collection(tmp_path / "a.zarr", "0.5", ("", SCAN, 0.5))
    file = path / "OME" / "METADATA.ome.xml"
    stains = "".join(f'<Channel ID="Channel:{n}" Fluor="DAPI"/>' for n in range(3))
    file.write_text(file.read_text().replace('<Channel ID="Channel:0" SamplesPerPixel="3"/>', stains))
    with pytest.raises(SlideError, match="separate channels, not RGB"):
        Slide(path)


def test_images_without_a_list_of_them(tmp_path: Path) -> None:
    path = collection(tmp_path / "a.zarr", "0.4", ("", SCAN, 0.5))
    shutil.rmtree(path / "OME")
    with Slide(path) as slide:
        assert slide.size == (420, 300) and slide.warnings == ()
    shutil.rmtree(path / "0")
    with pytest.raises(SlideError, match="lists several images, but holds none"):
        Slide(path)


def test_several_multiscales_of_one_group(tmp_path: Path) -> None:
    one, same, other = (multiscale("cyx", 0.5, (1,)) for _ in range(3))
    same["name"], other["datasets"][0]["path"] = "another way to make levels", "other"
    group = write_group(tmp_path / "a.zarr", {"multiscales": [one, same, other]})
    write_level(group, "0", OTHER.transpose(2, 0, 1), (3, 64, 64))
    write_level(group, "other", SCAN.transpose(2, 0, 1), (3, 64, 64))
    with Slide(tmp_path / "a.zarr") as slide:
        assert [(i["width"], i["role"]) for i in slide.images] == [(400, "scan"), (420, "slide")]
        assert np.array_equal(slide.read(0, 0, 420, 300, 0.5), SCAN)


def test_stores_in_folders_are_found_and_not_looked_into(tmp_path: Path) -> None:
    slides = [write_image(tmp_path / "a.ome.zarr", SCAN), write_image(tmp_path / "b", SCAN, version="0.4")]
    slides.append(collection(tmp_path / "c.zarr", "0.4", ("", SCAN, 0.5)))
    plate, labels = tmp_path / "plate.zarr", tmp_path / "labels.zarr"
    write_group(plate, {"plate": {"wells": [{"path": "A/1"}]}}, "0.4")
    write_image(plate / "A" / "1" / "0", SCAN, version="0.4")
    change_attributes(write_image(labels, SCAN), {"image-label": {}})
    zarr.open_group(str(tmp_path / "table.zarr"), mode="w", zarr_format=2, attributes={"encoding-type": "anndata"})
    deep = write_image(tmp_path / "below" / "deep.zarr", SCAN)
    (slides[0] / "inside.svs").touch()
    assert find_slides([tmp_path]) == slides
    assert find_slides([tmp_path], recursive=True) == sorted([*slides, deep])
    assert find_slides([tmp_path / "*.zarr"]) == [slides[0], slides[2]]
    assert find_slides([slides[0], tmp_path / "b"]) == slides[:2]
    with pytest.raises(SlideError, match=r"is a plate of many wells \(HCS\), not a slide"):
        Slide(find_slides([plate])[0])
    with pytest.raises(SlideError, match="is one level of an OME-Zarr image"):
        Slide(slides[0] / "0")


def test_heatmaps_of_this_tool_are_no_slides(tmp_path: Path, painted: Path) -> None:
    shutil.copy(painted, tmp_path / "a.tif")
    wsi_idc.segment(tmp_path / "a.tif", tmp_path, model="idc-patch")
    heatmap = shutil.copytree(tmp_path / "a" / "heatmap.zarr", tmp_path / "elsewhere.zarr")
    assert find_slides([tmp_path], recursive=True) == [tmp_path / "a.tif"]
    with pytest.raises(DataError, match="no slides there"):
        find_slides([tmp_path / "a"])
    for store, reason in ((heatmap, "is a heatmap that this tool has made"), (heatmap / "labels" / "idc", "labels")):
        with pytest.raises(SlideError, match=reason):
            Slide(store)


def test_info_of_a_store_and_of_a_folder_of_them(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.zarr", SCAN, change=multiscale("tczyx", 0.5, (1, 2)))
    found = CliRunner().invoke(info, [str(path), "--json"])
    facts = json.loads(found.output)
    assert (facts["vendor"], facts["reader"], facts["mpp"]["x"], len(facts["levels"])) == ("ome-zarr", "zarr", 0.5, 2)
    listed = CliRunner().invoke(info, [str(tmp_path)])
    assert listed.output.startswith(f"{path}\n1 found") and "OME-Zarr images by content" in listed.output.replace(
        "\n", " "
    )


def test_what_is_packed_or_elsewhere_has_a_way_out(tmp_path: Path) -> None:
    packed = tmp_path / "a.ome.zarr.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("zarr.json", "{}")
    with pytest.raises(SlideError, match="is a zip archive; unpack it"):
        Slide(packed)
    for address in ("https://host/a.zarr", "s3://bucket/a.zarr"):
        with pytest.raises(SlideError, match="is an address, not a file: copy the slide to this machine"):
            Slide(address)
        assert find_slides([address]) == [Path(address)], "fails by itself"


@pytest.mark.parametrize("huge", [10**400, "many", None, float("inf")])
def test_a_scale_that_is_no_number_is_none(huge):
    assert along([1, 0.25, 0.5], ["c", "y", "x"]) == (0.5, 0.25)
    assert along([1, huge, 0.5], ["c", "y", "x"]) is None
