"""TIFFs that OpenSlide declines: codecs, colours, OME-TIFF of several images, planes and focal planes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile

from wsi_idc.base.threads import in_parallel
from wsi_idc.errors import SlideError
from wsi_idc.slides.slide import Slide

RNG = np.random.default_rng(6)
# Smooth, so that lossy codecs change it little.
Y, X = np.indices((200, 264))
SMOOTH = np.stack([120 + 100 * np.sin(X / 40), 130 + 90 * np.cos(Y / 30), 100 + 0.2 * X + 0.3 * Y], -1).astype(np.uint8)
NOISE = RNG.integers(0, 256, (200, 264, 3), np.uint8)
SCALE = {"resolution": (20_000, 20_000), "resolutionunit": 3, "metadata": None}
LOSSLESS: list[tuple[str | int, dict[str, Any]]] = [
    ("lzma", {}), ("zstd", {}), ("lerc", {}), ("packbits", {}), ("lzw", {}), ("deflate", {}),
    ("webp", {"level": 100, "lossless": True}), ("png", {}), ("jpegxl", {"lossless": True}),
    ("jpeg2000", {"reversible": True, "level": 0}), (33005, {"reversible": True, "level": 0}),
]  # fmt: skip
LOSSY: list[str | int] = [33003, 33004, 33005, "jpeg2000", "jpegxl", "webp", "jpegxr", "jpeg"]


def write(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    tifffile.imwrite(path, pixels, **({"photometric": "rgb"} | SCALE | options))
    return path


@pytest.mark.parametrize("layout", [{"tile": (64, 80)}, {"rowsperstrip": 48}], ids=["tiles", "strips"])
@pytest.mark.parametrize(("codec", "arguments"), LOSSLESS)
def test_lossless_codecs(tmp_path: Path, layout: dict[str, Any], codec: str | int, arguments: dict[str, Any]) -> None:
    path = write(tmp_path / "s.tif", NOISE, compression=codec, compressionargs=arguments, **layout)
    with Slide(path) as slide:
        assert np.array_equal(slide.read(0, 0, 264, 200, 0.5), NOISE)
        assert np.array_equal(slide.read(61, 130, 90, 33, 0.5), NOISE[130:163, 61:151])


@pytest.mark.parametrize("codec", LOSSY)
def test_lossy_codecs(tmp_path: Path, codec: str | int) -> None:
    with Slide(write(tmp_path / "s.tif", SMOOTH, compression=codec, tile=(64, 64))) as slide:
        off = np.abs(slide.read(0, 0, 264, 200, 0.5).astype(int) - SMOOTH)
        assert off.mean() < 4 and slide.mpp.x == pytest.approx(0.5)


def test_the_ycbcr_of_aperio_jpeg_2000(tmp_path: Path) -> None:
    """Aperio stores YCbCr under 33003, and the stream does not say so; OpenSlide takes it from Aperio's files only."""
    r, g, b = (SMOOTH[..., i].astype(float) for i in range(3))
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    ycbcr = np.stack([luma, 128 + (b - luma) / 1.772, 128 + (r - luma) / 1.402], -1).round().astype(np.uint8)
    path = tmp_path / "s.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(np.zeros((60, 60, 3), np.uint8), photometric="rgb", description="label", metadata=None)
        arguments = {"reversible": True, "level": 0, "mct": False}
        tiff.write(ycbcr, photometric="ycbcr", compression=33003, compressionargs=arguments, tile=(64, 64), **SCALE)
    with Slide(path) as slide:
        off = np.abs(slide.read(0, 0, 264, 200, 0.5).astype(int) - SMOOTH)
        assert off.max() <= 2


@pytest.mark.parametrize("kind", ["UNASSALPHA", "ASSOCALPHA", "UNSPECIFIED"])
@pytest.mark.parametrize("planar", [None, "separate"])
def test_strips_of_rgba(tmp_path: Path, kind: str, planar: str | None) -> None:
    alpha = np.full((200, 264, 1), 255, np.uint8)
    alpha[:, 100:150], alpha[:, 150:] = 0, 128
    colour = NOISE if kind != "ASSOCALPHA" else np.rint(NOISE * (alpha / 255)).astype(np.uint8)
    pixels = np.concatenate([colour, alpha], -1)
    stored = np.moveaxis(pixels, -1, 0) if planar else pixels
    path = write(
        tmp_path / "s.tif", stored, extrasamples=[kind], planarconfig=planar, rowsperstrip=33, compression="lzw"
    )
    with Slide(path) as slide:
        got = slide.read(0, 0, 264, 200, 0.5).astype(float)
    blend = NOISE * (alpha / 255) + 255 * (1 - alpha / 255)
    # What the fourth sample is, is not said: it is left out.
    expected = NOISE if kind == "UNSPECIFIED" else blend
    assert np.abs(got - expected).max() <= 1


def test_an_unknown_codec_is_named_without_the_advice_that_the_file_may_be_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "s.tif", NOISE, tile=(64, 64))
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags["Compression"].overwrite(65_123)
    with pytest.raises(SlideError, match=r"s\.tif: [^\n]*65123") as caught, Slide(path) as slide:
        slide.read(0, 0, 10, 10, 0.5)
    assert "whole" not in str(caught.value)


def write_ome(path: Path, images: list[tuple[np.ndarray, dict[str, Any], dict[str, Any]]]) -> Path:
    """Write images with their metadata and options, and a level of half the size for each that asks for it."""
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for pixels, metadata, options in images:
            tiff.write(pixels, metadata=metadata, **({"photometric": "rgb", "tile": (64, 64)} | options))
            for _ in range(options.get("subifds", 0)):
                tiff.write(pixels[::2, ::2], photometric="rgb", tile=(64, 64), subfiletype=1)
    return path


def physical(um: float, name: str = "", unit: str = "µm", axes: str = "YXS") -> dict[str, Any]:
    sizes = {"PhysicalSizeX": um, "PhysicalSizeY": um, "PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    return {"axes": axes, "Name": name, **sizes}


SCAN = (NOISE, physical(0.5, "scan"), {"subifds": 1})
PHOTO = (SMOOTH[:90], physical(16.4, "macro image"), {})
LABEL = (SMOOTH[:150, :150], {"axes": "YXS", "Name": "Label"}, {})


@pytest.mark.parametrize("order", [[SCAN, PHOTO, LABEL], [LABEL, PHOTO, SCAN], [PHOTO, SCAN, LABEL]])
def test_images_of_ome_tiff_in_any_order_with_the_scale_of_each(tmp_path: Path, order: list[Any]) -> None:
    path = write_ome(tmp_path / "s.ome.tif", order)
    with Slide(path) as slide:
        assert slide.mpp.x == pytest.approx(0.5) and slide.mpp.source == "OME PhysicalSize"
        assert np.array_equal(slide.read(0, 0, 264, 200, 0.5), NOISE)
        assert [v["downsample"] for v in slide.describe()["levels"]] == [1, 2]
        assert {i["name"]: i["role"] for i in slide.images} == {
            "scan": "slide",
            "macro image": "macro",
            "Label": "label",
        }
        assert slide.warnings == ()
    with Slide(path, series=[image is PHOTO for image in order].index(True)) as photo:
        assert photo.mpp.x == pytest.approx(16.4)


def test_a_second_scan_of_ome_tiff_is_warned_of(tmp_path: Path) -> None:
    second = (SMOOTH, physical(0.25, "other"), {})
    with Slide(write_ome(tmp_path / "s.ome.tif", [(NOISE[:150], physical(0.5, "a"), {}), second])) as slide:
        assert slide.mpp.x == pytest.approx(0.25)
        assert "image 1 was looked at, not 0 (264 x 150 px)" in slide.warnings[0]


@pytest.mark.usefixtures("levels_of_anything")
@pytest.mark.parametrize("subifds", [0, 1])
@pytest.mark.parametrize("names", [["Red", "Green", "Blue"], ["Blue", "Green", "Red"], None])
def test_three_planes_are_rgb(tmp_path: Path, subifds: int, names: list[str] | None) -> None:
    order = [2, 1, 0] if names and names[0] == "Blue" else [0, 1, 2]
    planes = np.moveaxis(NOISE[..., order], -1, 0)
    metadata = physical(0.5, axes="CYX") | ({"Channel": {"Name": names}} if names else {})
    path = tmp_path / "s.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tiff:
        common = {"photometric": "minisblack", "tile": (64, 64), "compression": "deflate"}
        tiff.write(planes, metadata=metadata, subifds=subifds, **common)
        for _ in range(subifds):
            tiff.write(planes[:, ::2, ::2], subfiletype=1, **common)
    with Slide(path) as slide:
        assert np.array_equal(slide.read(0, 0, 264, 200, 0.5), NOISE)
        assert len(slide.describe()["levels"]) == 1 + subifds
        if subifds:
            means = NOISE[::2, ::2].reshape(50, 2, 66, 2, 3).mean((1, 3))
            assert np.abs(slide.read(0, 0, 66, 50, 2.0) - means).max() <= 0.51


def test_three_stains_are_no_rgb(tmp_path: Path) -> None:
    path = tmp_path / "s.ome.tif"
    metadata = physical(0.5, axes="CYX") | {"Channel": {"Name": ["DAPI", "FITC", "Cy5"]}}
    tifffile.imwrite(path, np.moveaxis(NOISE, -1, 0), photometric="minisblack", metadata=metadata, tile=(64, 64))
    with pytest.raises(SlideError, match="not 8-bit RGB"):
        Slide(path)


def test_16_bit_ome_is_refused_for_that_reason(tmp_path: Path) -> None:
    path = write_ome(tmp_path / "s.ome.tif", [(NOISE.astype(np.uint16) << 8, physical(0.5), {})])
    with pytest.raises(SlideError, match="has 16 bits a sample, and not 8"):
        Slide(path)


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_of_focal_planes_the_middle_one_is_read_and_that_is_said(tmp_path: Path, depth: int) -> None:
    planes = np.stack([np.roll(NOISE, 7 * i, 0) for i in range(depth)])
    path = tmp_path / "s.ome.tif"
    tifffile.imwrite(path, planes, photometric="rgb", metadata=physical(0.5, axes="ZYXS"), tile=(64, 64))
    with Slide(path) as slide:
        assert np.array_equal(slide.read(0, 0, 264, 200, 0.5), planes[depth // 2])
        assert f"{depth} focal planes" in slide.warnings[0] and len(slide.warnings) == 1


def test_tags_that_contradict_ome_are_warned_of_with_both_values(tmp_path: Path) -> None:
    options = {"resolution": (1e4 / 1.1, 1e4 / 1.1), "resolutionunit": 3}
    with Slide(write_ome(tmp_path / "s.ome.tif", [(NOISE, physical(0.5), options)])) as slide:
        assert slide.mpp.x == pytest.approx(0.5)
        assert len(slide.warnings) == 1 and "1.1 um/px" in slide.warnings[0] and "0.5 um/px" in slide.warnings[0]
    dots = {"resolution": (72, 72), "resolutionunit": 2}
    with Slide(write_ome(tmp_path / "d.ome.tif", [(NOISE, physical(0.5), dots)])) as slide:
        assert slide.warnings == ()


@pytest.mark.parametrize("fault", ["tile", "size", "strip", "table"])
def test_headers_that_lie_are_refused_before_anything_decodes(tmp_path: Path, fault: str) -> None:
    path = write(
        tmp_path / "s.svs",
        NOISE,
        **({"rowsperstrip": 200, "compression": "deflate"} if fault == "strip" else {"tile": (64, 64)}),
    )
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tags = tiff.pages[0].tags
        if fault == "tile":
            tags["TileWidth"].overwrite(60_000), tags["TileLength"].overwrite(60_000)
        elif fault == "strip":
            for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
                tags[name].overwrite(60_000)
        elif fault == "size":
            tags["ImageWidth"].overwrite(60_000), tags["ImageLength"].overwrite(60_000)
        else:
            tags["TileOffsets"].overwrite(tags["TileOffsets"].value[:3])
    with pytest.raises(SlideError, match=r"^[^\n]*s\.svs: [^\n]*(claims|lists)[^\n]*$"):
        Slide(path, 0.5)


def write_avif(path: Path, number: int) -> Path:
    """Write tiles of AVIF under a number of which TIFF knows nothing."""
    whole = np.pad(SMOOTH, ((0, 56), (0, 248), (0, 0)), mode="edge")
    tiles = [imagecodecs.avif_encode(whole[:256, left : left + 256].copy(), level=95) for left in (0, 256)]
    options: dict[str, Any] = {"compression": "zstd", "tile": (256, 256), "photometric": "rgb"}
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(iter(tiles), shape=SMOOTH.shape, dtype=np.uint8, **options, **SCALE)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags["Compression"].overwrite(number)
    return path


@pytest.mark.skipif(not imagecodecs.AVIF.available, reason="imagecodecs without AVIF")
def test_avif_is_told_by_its_codes(tmp_path: Path) -> None:
    with Slide(write_avif(tmp_path / "s.tif", 60_001)) as slide:
        assert np.abs(slide.read(0, 0, 264, 200, 0.5).astype(int) - SMOOTH).mean() < 4


@pytest.mark.skipif(not imagecodecs.AVIF.available, reason="imagecodecs without AVIF")
def test_avif_without_a_decoder_is_refused_for_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_avif(tmp_path / "s.tif", 60_001)
    monkeypatch.setattr(imagecodecs.AVIF, "available", False)
    with pytest.raises(SlideError, match=r"AVIF \(codec 60001\), which imagecodecs as installed here does not"):
        Slide(path)


def test_a_codec_that_nothing_decodes_is_refused_when_the_slide_is_opened(tmp_path: Path) -> None:
    path = write(tmp_path / "s.tif", NOISE, tile=(64, 64))
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags["Compression"].overwrite(50_003)
    with pytest.raises(SlideError, match=r"codec 50003, which imagecodecs does not decode"):
        Slide(path)


@pytest.mark.parametrize("layout", [{"tile": (64, 80)}, {"rowsperstrip": 48}], ids=["tiles", "strips"])
def test_a_fourth_sample_of_which_nothing_is_said_is_no_transparency(tmp_path: Path, layout: dict[str, Any]) -> None:
    """OpenSlide makes it transparency: a slide whose fourth samples are 0 was read as empty glass."""
    pixels = np.concatenate([NOISE, np.zeros((200, 264, 1), np.uint8)], -1)
    path = write(tmp_path / "s.tif", pixels, extrasamples=["UNSPECIFIED"], **layout)
    with Slide(path) as slide:
        assert np.array_equal(slide.read(0, 0, 264, 200, 0.5), NOISE)


def test_signed_samples_are_refused_as_such(tmp_path: Path) -> None:
    path = write(tmp_path / "s.tif", (NOISE.astype(int) - 128).astype(np.int8), tile=(64, 80))
    with pytest.raises(SlideError, match="signed samples; it is not 8-bit RGB"):
        Slide(path)


def test_threads_that_read_at_once_read_their_own_tiles(tmp_path: Path) -> None:
    """Each tile has a value of its own: another's, were the file sought in one thread and read in another."""
    values = np.arange(900, dtype=np.uint16).reshape(30, 30) % 251
    tiles = np.kron(values, np.ones((16, 16), np.uint16)).astype(np.uint8)
    path = write(tmp_path / "s.tif", np.stack([tiles] * 3, -1), compression="png", tile=(16, 16))
    wrong: list[tuple[int, int]] = []
    interval = sys.getswitchinterval()
    try:
        sys.setswitchinterval(1e-6)
        for _ in range(12):
            with Slide(path) as slide:
                assert slide.describe()["reader"] == "tifffile"

                def look(place: tuple[int, int], slide: Slide = slide) -> None:
                    if (slide.read(16 * place[1], 16 * place[0], 16, 16, 0.5) != values[place]).any():
                        wrong.append(place)

                in_parallel(look, np.ndindex(30, 30), 8)
    finally:
        sys.setswitchinterval(interval)
    assert not wrong
