from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from wsi_idc.demo.painter import PaintedSection
from wsi_idc.errors import SlideError
from wsi_idc.slides.openslide_reader import OpenSlideReader
from wsi_idc.slides.reader import Reader
from wsi_idc.slides.slide import Slide
from wsi_idc.slides.tiff.images import plain_images
from wsi_idc.slides.tiff.pages import read_pages, walk
from wsi_idc.slides.tiff.reader import TiffReader
from wsi_idc.slides.write import write_slide

IMAGE = np.random.default_rng(3).integers(0, 200, (160, 208, 3), np.uint8)
HALF = np.random.default_rng(4).integers(0, 200, (80, 104, 3), np.uint8)
SCALE = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
TILED = {"tile": (64, 64)}


def write(path: Path, image: np.ndarray = IMAGE, **options: Any) -> Path:
    tifffile.imwrite(path, image, **({"photometric": "rgb"} | SCALE | options))
    return path


def write_ome(path: Path, **layout: Any) -> Path:
    """Write a pyramid of two levels as Bio-Formats does: the smaller one in a SubIFD."""
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(IMAGE, photometric="rgb", subifds=1, compression="deflate", **layout)
        tiff.write(HALF, photometric="rgb", subfiletype=1, compression="deflate", **layout)
    return path


def patch_tiles(path: Path, index: int, page: int = 0) -> None:
    """Leave a tile or strip out of a TIFF, as scanners do for empty glass."""
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for name in ("TileOffsets", "TileByteCounts", "StripOffsets", "StripByteCounts"):
            if tag := tiff.pages[page].tags.get(name):
                tag.overwrite([0 if i == index else v for i, v in enumerate(tag.value)])


def spoil_tile(path: Path, index: int) -> None:
    with tifffile.TiffFile(path) as tiff:
        start, size = tiff.pages[0].dataoffsets[index], tiff.pages[0].databytecounts[index]
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(size))


@pytest.mark.parametrize(
    ("reader", "options"),
    [
        ("openslide", TILED),
        ("openslide", TILED | {"compression": "deflate"}),
        ("openslide", TILED | {"compression": "lzw", "predictor": True}),
        ("openslide", TILED | {"planarconfig": "separate"}),
        ("tifffile", {}),
        ("tifffile", {"compression": "deflate", "rowsperstrip": 16}),
        ("tifffile", {"compression": "lzw", "predictor": True}),
        ("tifffile", {"planarconfig": "separate"}),
        ("tifffile", {"planarconfig": "separate", "compression": "deflate", "rowsperstrip": 32}),
        ("tifffile", {"bigtiff": True, "byteorder": ">"}),
    ],
)
def test_pixels_are_exact(tmp_path: Path, reader: str, options: dict[str, Any]) -> None:
    image = np.moveaxis(IMAGE, -1, 0) if options.get("planarconfig") else IMAGE
    with Slide(write(tmp_path / "s.tif", image, **options)) as slide:
        assert slide.describe()["reader"] == reader
        assert slide.size == (208, 160)
        assert (slide.mpp.x, slide.mpp.y) == pytest.approx((0.5, 0.5))
        assert slide.mpp.source == "TIFF resolution tags"
        assert np.array_equal(slide.read(0, 0, 208, 160, slide.mpp.x), IMAGE)
        assert np.array_equal(slide.read(33, 61, 70, 9, slide.mpp.x), IMAGE[61:70, 33:103])


@pytest.mark.parametrize("options", [TILED, {}])
def test_resolution_in_inches(tmp_path: Path, options: dict[str, Any]) -> None:
    slide = Slide(write(tmp_path / "s.tif", resolution=(50_800, 50_800), resolutionunit="INCH", **options))
    assert (slide.mpp.x, slide.mpp.y) == pytest.approx((0.5, 0.5))
    absurd = write(tmp_path / "dots.tif", resolution=(72, 72), resolutionunit="INCH", **options)
    with pytest.raises(SlideError, match=r"dots\.tif: .*352.*TIFF.*--mpp"):
        Slide(absurd)
    assert Slide(absurd, mpp=0.5).mpp.source == "--mpp"


@pytest.mark.parametrize("layout", [TILED, {"rowsperstrip": 32}], ids=["tiled", "strips"])
class TestOmeTiff:
    @pytest.mark.parametrize(("unit", "size"), [("nm", 250.0), ("µm", 0.25), ("mm", 2.5e-4), (None, 0.25)])
    def test_physical_size(self, tmp_path: Path, layout: dict[str, Any], unit: str | None, size: float) -> None:
        metadata: dict[str, Any] = {"axes": "YXS", "PhysicalSizeX": size, "PhysicalSizeY": size}
        if unit:
            metadata |= {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
        path = tmp_path / "s.ome.tif"
        tifffile.imwrite(path, IMAGE, photometric="rgb", metadata=metadata, **layout)
        with Slide(path) as slide:
            assert (slide.mpp.x, slide.mpp.y) == pytest.approx((0.25, 0.25))
            assert slide.mpp.source == "OME PhysicalSize" and not slide.mpp.estimated
            assert np.array_equal(slide.read(0, 0, 208, 160, slide.mpp.x), IMAGE)

    @pytest.mark.usefixtures("levels_of_anything")
    def test_levels_in_sub_ifds(self, tmp_path: Path, layout: dict[str, Any]) -> None:
        with Slide(write_ome(tmp_path / "s.ome.tif", **layout), mpp=0.25) as slide:
            assert np.array_equal(slide.read(0, 0, 208, 160, 0.25), IMAGE)
            assert [v["downsample"] for v in slide.describe()["levels"]] == [1, 2]
            quarter = HALF.reshape(40, 2, 52, 2, 3).mean((1, 3))
            assert np.abs(slide.read(0, 0, 52, 40, 1.0) - quarter).max() <= 0.51


def tiff_reader(path: Path) -> TiffReader:
    """Read by tifffile what OpenSlide reads too."""
    file = tifffile.TiffFile(path)
    pages = dict(walk(file))
    return TiffReader(path, file, pages, plain_images(read_pages(path, pages))[0])


@pytest.mark.parametrize("make", [OpenSlideReader, tiff_reader])
@pytest.mark.parametrize("compression", ["jpeg", "deflate", None])
def test_a_missing_tile_is_white(tmp_path: Path, make: Callable[[Path], Reader], compression: str | None) -> None:
    path = write(tmp_path / "sparse.tif", compression=compression, **TILED)
    whole = make(path).read(0, 0, 0, 208, 160)
    patch_tiles(path, 1)
    got = make(path).read(0, 0, 0, 208, 160)
    assert (got[:64, 64:128] == 255).all()
    kept = np.ones((160, 208), bool)
    kept[:64, 64:128] = False
    assert np.array_equal(got[kept], whole[kept]) and whole.max() < 255


def test_a_missing_strip_is_white(tmp_path: Path) -> None:
    path = write(tmp_path / "sparse.tif", compression="deflate", rowsperstrip=40)
    patch_tiles(path, 2)
    got = Slide(path).read(0, 0, 208, 160, 0.5)
    assert (got[80:120] == 255).all()
    assert np.array_equal(np.delete(got, np.s_[80:120], 0), np.delete(IMAGE, np.s_[80:120], 0))


def test_transparent_pixels_are_background(tmp_path: Path) -> None:
    alpha = np.full((160, 208, 1), 255, np.uint8)
    alpha[:, 100:], alpha[:, 150:] = 0, 128
    path = write(tmp_path / "rgba.tif", np.concatenate([IMAGE, alpha], -1), extrasamples=["UNASSALPHA"], **TILED)
    got = Slide(path).read(0, 0, 208, 160, 0.5)
    assert np.array_equal(got[:, :100], IMAGE[:, :100])
    assert (got[:, 100:150] == 255).all()
    blend = IMAGE[:, 150:] * (128 / 255) + 255 * (127 / 255)
    assert np.abs(got[:, 150:] - blend).max() < 2.5  # through the 8-bit premultiplied pixels of OpenSlide


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (IMAGE[..., 0], {"photometric": "minisblack"}),
        (IMAGE[..., 0].astype(np.uint16), {"photometric": "minisblack"}),
        (IMAGE.astype(np.uint16), {}),
    ],
    ids=["gray", "gray16", "rgb16"],
)
def test_what_is_not_8_bit_rgb_is_refused(tmp_path: Path, image: np.ndarray, options: dict[str, Any]) -> None:
    with pytest.raises(SlideError, match=r"^[^\n]*odd\.tif: [^\n]*is not 8-bit RGB[^\n]*$"):
        Slide(write(tmp_path / "odd.tif", image, **options), mpp=0.5)


@pytest.mark.parametrize("name", ["text.svs", "empty.svs", "image.png", "image.jpg", "image.bmp"])
def test_what_is_no_slide_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.startswith("image"):
        Image.fromarray(IMAGE).save(path)
    else:
        path.write_text("Slide 12, block A2\n" * (name == "text.svs"))
    with pytest.raises(SlideError, match=rf"^[^\n]*{name}: not a slide[^\n]*$"):
        Slide(path, mpp=0.5)


@pytest.mark.parametrize("layout", ["strips", "tiled", "pyramid"])
@pytest.mark.parametrize("length", [1, 3, 6, 9, 100, 203, 230, 300, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_an_error_never_glass(tmp_path: Path, layout: str, length: float) -> None:
    path = tmp_path / "cut.tif"
    if layout == "pyramid":
        write_slide(path, IMAGE, 0.5, downsamples=(1, 2), tile=64)
    else:
        write(path, compression="deflate", **(TILED if layout == "tiled" else {"rowsperstrip": 64}))
    data = path.read_bytes()
    path.write_bytes(data[: length if length >= 1 else int(length * len(data))])  # type: ignore[misc]
    with pytest.raises(SlideError, match=r"^[^\n]*cut\.tif[^\n]*$"):
        Slide(path, mpp=0.5).read(0, 0, 208, 160, 0.5)


def test_a_spoilt_jpeg_tile_fails_alone(section: PaintedSection, tmp_path: Path) -> None:
    path = write_slide(tmp_path / "spoilt.tif", section.pixels, 4.0, downsamples=(1,), tile=128)
    expected = Slide(path).read(0, 0, 750, 600, 4.0)
    spoil_tile(path, 8)  # the third tile of the second row, of six a row: x 256 to 384, y 128 to 256
    slide = Slide(path)

    def read(corner: tuple[int, int]) -> bool:
        x, y = corner
        hit = x < 384 and x + 60 > 256 and y < 256 and y + 50 > 128
        try:
            good = np.array_equal(slide.read(x, y, 60, 50, 4.0), expected[y : y + 50, x : x + 60])
        except SlideError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            return hit
        return good and not hit

    corners = [(x, y) for y in range(0, 550, 50) for x in range(0, 690, 60)]
    assert all(map(read, corners[:60]))
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, corners * 2))
    assert read((0, 0)) and read((300, 150))


def test_a_spoilt_strip_fails_alone_in_tifffile_too(tmp_path: Path) -> None:
    path = write(tmp_path / "spoilt.tif", compression="deflate", rowsperstrip=40)
    spoil_tile(path, 1)
    slide = Slide(path)
    with pytest.raises(SlideError, match=r"spoilt\.tif: level 0 .*cannot be decoded"):
        slide.read(0, 30, 208, 20, 0.5)
    assert np.array_equal(slide.read(0, 80, 208, 80, 0.5), IMAGE[80:])


def test_a_slide_that_vanishes_is_a_slide_error(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "gone.tif", IMAGE, 0.5, downsamples=(1,), tile=64)
    spoil_tile(path, 0)
    slide = Slide(path)
    path.unlink()
    with pytest.raises(SlideError, match=r"gone\.tif"):
        slide.read(0, 0, 208, 160, 0.5)


def test_fingerprint_is_of_the_content_alone(painted: Path, tmp_path: Path) -> None:
    value = Slide(painted).fingerprint
    assert Slide(shutil.copy(painted, tmp_path / "other-name.tif")).fingerprint == value
    rng = np.random.default_rng(0)
    prints = {value}
    for i in range(3):
        pixels = rng.integers(0, 256, (300, 300, 3), np.uint8)
        prints.add(Slide(write_slide(tmp_path / f"{i}.tif", pixels, 4.0, downsamples=(1,))).fingerprint)
    assert len(prints) == 4


@pytest.mark.parametrize("options", [TILED, {}])
def test_fingerprint_sees_one_changed_pixel(tmp_path: Path, options: dict[str, Any]) -> None:
    changed = IMAGE.copy()
    changed[20, 20, 1] ^= 1
    prints = {Slide(write(tmp_path / "s.tif", image, **options)).fingerprint for image in (IMAGE, changed, IMAGE)}
    assert len(prints) == 2


def test_missing_file_and_folder_without_dicom(tmp_path: Path) -> None:
    for path in (tmp_path / "none.svs", tmp_path):
        with pytest.raises(SlideError, match=path.name):
            Slide(path)


@pytest.mark.parametrize(
    "xml",
    [
        "<OME><broken",
        "<OME></OME>",
        '<OME><Image><Pixels PhysicalSizeX="abc" PhysicalSizeY="1"/></Image></OME>',
        '<OME><Image><Pixels PhysicalSizeX="1" PhysicalSizeXUnit="parsec" PhysicalSizeY="1"/></Image></OME>',
    ],
)
def test_ome_metadata_that_makes_no_sense_states_no_scale(tmp_path: Path, xml: str) -> None:
    path = tmp_path / "s.ome.tif"
    tifffile.imwrite(path, IMAGE, photometric="rgb", description=xml.replace("<OME>", '<OME xmlns="x">'), metadata=None)
    with pytest.raises(SlideError, match=r"does not state its scale|not a slide|damaged"):
        Slide(path)
    try:
        with Slide(path, 0.5) as slide:
            assert np.array_equal(slide.read(0, 0, 208, 160, 0.5), IMAGE)
    except SlideError as error:
        assert "damaged" in str(error)


@pytest.mark.parametrize("photometric", ["cielab", "ycbcr"])
def test_colours_that_are_not_rgb_are_refused(tmp_path: Path, photometric: str) -> None:
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, IMAGE, photometric=photometric, metadata=None)
    with pytest.raises(SlideError, match="is not 8-bit RGB"):
        Slide(path, 0.5)


def test_a_large_single_strip_reads_like_any_other(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (2400, 2400, 3), dtype=np.uint8)
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, image, photometric="rgb", metadata=None, rowsperstrip=2400, compression="lzw")
    with Slide(path, 0.5) as slide:
        whole = slide.read(0, 0, 2400, 2400, 0.5)
        for n in range(20):
            assert np.array_equal(slide.read(n, n, 8, 8, 0.5), image[n : n + 8, n : n + 8])
    assert np.array_equal(whole, image)


@pytest.mark.parametrize("layout", [{}, TILED, TILED | {"compression": "jpeg"}], ids=["flat", "tiled", "jpeg"])
def test_a_tiff_that_is_named_as_hamamatsus_is_read_by_what_it_holds(tmp_path: Path, layout: dict[str, Any]) -> None:
    """It was refused: "holds no image; is the file whole?"."""
    named, plain = (write(tmp_path / f"a.{suffix}", **layout) for suffix in ("ndpi", "tif"))
    with Slide(named) as one, Slide(plain) as other:
        assert one.mpp == other.mpp and one.size == other.size
        assert np.array_equal(one.read(0, 0, 208, 160, 0.5), other.read(0, 0, 208, 160, 0.5))


@pytest.mark.realdata
def test_a_slide_of_hamamatsu_is_read_as_ever(shared: Path) -> None:
    with Slide(shared / "slides" / "test3-DAPI-2_387.ndpi") as slide:
        assert slide.describe()["vendor"] == "hamamatsu"


def test_a_picture_is_led_to_what_takes_pictures(tmp_path: Path) -> None:
    Image.new("RGB", (60, 60), "pink").save(tmp_path / "photo.jpg")
    with pytest.raises(SlideError, match=r"photo\.jpg: not a slide .*; wsi-idc predict takes pictures$"):
        Slide(tmp_path / "photo.jpg")
