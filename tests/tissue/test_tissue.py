from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.ndimage import binary_dilation, binary_erosion, distance_transform_edt, gaussian_filter

from wsi_idc.demo.painter import CLASSES, PaintedSection, paint_section
from wsi_idc.errors import SlideError
from wsi_idc.slides.slide import Slide
from wsi_idc.slides.write import write_slide
from wsi_idc.tissue.stained import closed
from wsi_idc.tissue.tissue import MASK_UM, TissueMap, _lost_detail, find_tissue

GLASS, FAT, STROMA, DUCT, TUMOUR, INK = range(len(CLASSES))


def look_at(folder: Path, pixels: np.ndarray, mpp: float = 4.0) -> TissueMap:
    path = write_slide(folder / "s.tif", pixels, mpp, downsamples=(1,), compression="deflate")
    with Slide(path) as slide:
        return find_tissue(slide)


def labels_of(section: PaintedSection) -> np.ndarray:
    """Return the labels at the scale of the mask, 4 um to 8 um: those of every second pixel."""
    return section.labels[::2, ::2]


def spoil(path: Path, tiles: list[int] | None = None) -> None:
    with tifffile.TiffFile(path) as tiff:
        places = [(t.dataoffsets, t.databytecounts) for t in tiff.pages]
    with path.open("r+b") as file:
        for offsets, sizes in places:
            for i in tiles or range(len(offsets)):
                file.seek(offsets[i])
                file.write(bytes(sizes[i]))


@pytest.fixture(scope="module", params=[1, 2, 3])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[PaintedSection, TissueMap]:
    section = paint_section(3.0, 2.4, 4.0, seed=request.param)
    return section, look_at(tmp_path_factory.mktemp("tissue"), section.pixels)


def test_the_mask_has_8_um_pixels(found: tuple[PaintedSection, TissueMap]) -> None:
    _, tissue = found
    assert tissue.um == MASK_UM == 8.0
    assert tissue.mask.shape == tissue.unreadable.shape == (300, 375)  # 2.4 x 3.0 mm
    assert tissue.mask.dtype == tissue.unreadable.dtype == bool
    assert tissue.thumbnail.shape == (300, 375, 3) and tissue.thumbnail.dtype == np.uint8
    assert tissue.tissue_mm2 == pytest.approx(tissue.mask.sum() * 64e-6)
    assert not tissue.unreadable.any() and tissue.warnings == ()


def test_the_thumbnail_is_the_slide(found: tuple[PaintedSection, TissueMap]) -> None:
    section, tissue = found
    means = section.pixels.reshape(300, 2, 375, 2, 3).mean((1, 3))
    assert np.abs(tissue.thumbnail - means).max() <= 0.5


@pytest.mark.parametrize(("kind", "least"), [(TUMOUR, 0.99), (STROMA, 0.95), (DUCT, 0.97), (FAT, 0.5)])
def test_tissue_is_kept(found: tuple[PaintedSection, TissueMap], kind: int, least: float) -> None:
    section, tissue = found
    assert tissue.mask[labels_of(section) == kind].mean() > least


def test_glass_is_dropped(found: tuple[PaintedSection, TissueMap]) -> None:
    section, tissue = found
    glass = labels_of(section) == GLASS
    far = distance_transform_edt(glass) * MASK_UM > 150
    assert far.mean() > 0.1
    assert tissue.mask[far].mean() < 0.02
    assert tissue.mask[glass].mean() < 0.1


def test_ink_is_measured_and_is_no_tissue(found: tuple[PaintedSection, TissueMap]) -> None:
    section, tissue = found
    ink = labels_of(section) == INK
    painted_mm2 = ink.sum() * 64e-6
    assert painted_mm2 > 0.01
    assert painted_mm2 / 2 < tissue.ink_mm2 < painted_mm2 * 2
    assert tissue.mask[ink].mean() < 0.05


def test_a_section_without_ink_has_none(section: PaintedSection, tmp_path: Path) -> None:
    pixels = section.pixels.copy()
    pixels[section.labels == INK] = (243, 242, 244)
    near_ink = distance_transform_edt(section.labels != INK) < 10
    pixels[near_ink & (section.labels == GLASS)] = (243, 242, 244)
    assert look_at(tmp_path, pixels).ink_mm2 < 0.002


def test_area_does_not_depend_on_the_scale_of_the_slide(tmp_path: Path) -> None:
    maps = [look_at(tmp_path, paint_section(2.0, 1.6, mpp, seed=5).pixels, mpp) for mpp in (2.0, 4.0)]
    assert maps[0].mask.shape == maps[1].mask.shape == (200, 250)
    assert maps[0].tissue_mm2 == pytest.approx(maps[1].tissue_mm2, rel=0.03)
    assert (maps[0].mask == maps[1].mask).mean() > 0.97


@pytest.mark.parametrize("seed", [1, 2])
def test_very_pale_tissue_is_mostly_kept(tmp_path: Path, seed: int) -> None:
    section = paint_section(3.0, 2.4, 4.0, seed=seed)
    pale = np.where((section.labels == INK)[..., None], 255, 0.3 * section.pixels + 0.7 * 255)
    mask = look_at(tmp_path, np.rint(pale).astype(np.uint8)).mask
    labels = labels_of(section)
    assert mask[labels == TUMOUR].mean() > 0.9
    assert mask[(labels == STROMA) | (labels == DUCT)].mean() > 0.6
    far = distance_transform_edt(labels == GLASS) * MASK_UM > 150
    assert mask[far].mean() < 0.02


@pytest.mark.parametrize("glass", [(243, 242, 244), (225, 228, 230), (255, 255, 255), (238, 236, 225)])
@pytest.mark.parametrize("noise", [1, 4])
def test_blank_glass_is_empty_without_a_warning(tmp_path: Path, glass: tuple[int, int, int], noise: int) -> None:
    rng = np.random.default_rng(noise)
    pixels = np.clip(np.array(glass) + noise * rng.standard_normal((300, 400, 3)), 0, 255).round().astype(np.uint8)
    tissue = look_at(tmp_path, pixels)
    assert not tissue.mask.any()
    assert (tissue.tissue_mm2, tissue.ink_mm2, tissue.out_of_focus_share, tissue.warnings) == (0, 0, 0, ())


def test_a_dark_field_is_empty_with_a_warning(section: PaintedSection, tmp_path: Path) -> None:
    tissue = look_at(tmp_path, (255 - section.pixels) // 4)
    assert not tissue.mask.any() and tissue.mask.shape == (300, 375)
    assert tissue.tissue_mm2 == 0
    assert len(tissue.warnings) == 1 and "brightfield" in tissue.warnings[0]


def test_a_colour_cast_is_warned_of(section: PaintedSection, tmp_path: Path) -> None:
    wrong = section.pixels.copy()
    wrong[..., 2] = wrong[..., 2] // 2
    assert any("colour" in w for w in look_at(tmp_path, wrong).warnings)


@given(arrays(np.uint8, array_shapes(min_dims=4, max_dims=4, max_side=6).map(lambda s: (s[0], 2, s[1], 2))))
def test_the_detail_that_averaging_loses_is_the_variance_within_each_pixel(blocks: np.ndarray) -> None:
    image = blocks.reshape(2 * blocks.shape[0], 2 * blocks.shape[2])
    assert np.array_equal(_lost_detail(image), blocks.var(axis=(1, 3)))


def test_focus(found: tuple[PaintedSection, TissueMap], tmp_path: Path) -> None:
    section, sharp = found
    blurred = gaussian_filter(section.pixels, (2, 2, 0))  # 8 um at 4 um a pixel
    assert sharp.out_of_focus_share < 0.05
    assert look_at(tmp_path, blurred).out_of_focus_share > 0.95


def test_half_out_of_focus(section: PaintedSection, tmp_path: Path) -> None:
    mixed = section.pixels.copy()
    mixed[:, 375:] = gaussian_filter(section.pixels, (2, 2, 0))[:, 375:]
    tissue = look_at(tmp_path, mixed)
    share = tissue.mask[:, 187:].sum() / tissue.mask.sum()
    assert tissue.out_of_focus_share == pytest.approx(share, abs=0.15)


def test_an_undecodable_tile_is_reported_and_hides_nothing_else(section: PaintedSection, tmp_path: Path) -> None:
    path = write_slide(tmp_path / "spoilt.tif", section.pixels, 4.0, downsamples=(1,), tile=128, compression="deflate")
    with Slide(path) as slide:
        whole = find_tissue(slide)
    spoil(path, [8])  # x 256 to 384, y 128 to 256 in pixels of 4 um: columns 128 to 192, rows 64 to 128 of the mask
    with Slide(path) as slide:
        tissue = find_tissue(slide)
    tile = np.zeros(tissue.mask.shape, bool)
    tile[64:128, 128:192] = True
    assert whole.mask[tile].mean() > 0.3  # there was tissue to lose
    assert tissue.unreadable[tile].all()
    assert tissue.unreadable.sum() < 2 * tile.sum()
    assert not (tissue.mask & tissue.unreadable).any()
    away = distance_transform_edt(~tissue.unreadable) * MASK_UM > 200
    assert (tissue.mask != whole.mask)[away].mean() < 0.001  # the glass is judged by what is left
    assert tissue.tissue_mm2 == pytest.approx(tissue.mask.sum() * 64e-6)


def test_a_file_of_which_nothing_decodes_is_an_error(section: PaintedSection, tmp_path: Path) -> None:
    path = write_slide(tmp_path / "ruin.tif", section.pixels[:256, :256], 4.0, downsamples=(1,), tile=128)
    spoil(path)
    with Slide(path) as slide, pytest.raises(SlideError, match=r"^[^\n]*ruin\.tif: [^\n]*decoded[^\n]*$"):
        find_tissue(slide)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 9), (16, 5), (50, 50), (33, 200)])
def test_tiny_images(tmp_path: Path, width: int, height: int) -> None:
    tissue = look_at(tmp_path, np.full((height, width, 3), 240, np.uint8), 1.0)
    assert tissue.mask.shape == (max(1, round(height / 8)), max(1, round(width / 8)))
    assert not tissue.mask.any()


@pytest.mark.parametrize(("width", "height"), [(60, 60), (50, 200), (500, 400)])
def test_tissue_without_any_glass_is_all_tissue(tmp_path: Path, width: int, height: int) -> None:
    rng = np.random.default_rng(0)
    pixels = np.array([200, 150, 185]) + 6 * rng.standard_normal((height, width, 3))
    tissue = look_at(tmp_path, pixels.round().astype(np.uint8))
    assert tissue.mask.all()
    assert tissue.ink_mm2 == 0 and len(tissue.warnings) == 1
    assert "100% of what was scanned would be tissue" in tissue.warnings[0]


@pytest.mark.realdata
class TestRealSlides:
    def test_aperio(self, shared: Path) -> None:
        with Slide(shared / "slides" / "CMU-1-Small-Region.svs") as slide:
            assert (slide.mpp.x, slide.mpp.y, slide.size) == (0.499, 0.499, (2220, 2967))
            tissue = find_tissue(slide)
        assert tissue.mask.shape == (185, 138)
        assert 0.3 < tissue.mask.mean() < 0.6
        assert tissue.out_of_focus_share < 0.1 and tissue.ink_mm2 < 0.005
        assert not tissue.unreadable.any() and tissue.warnings == ()

    def test_a_slide_that_lost_its_scale(self, shared: Path) -> None:
        path = shared / "slides" / "TCGA-CR-7395-01A-01-TS1.svs"
        with pytest.raises(SlideError, match=rf"{path.name}: the file does not state its scale.*--mpp"):
            Slide(path)
        with Slide(path, mpp=0.5) as slide:
            assert (slide.mpp.x, slide.mpp.source) == (0.5, "--mpp")
            assert 0.5 < find_tissue(slide).mask.mean() < 0.9

    def test_fluorescence_ndpi_is_warned_of(self, shared: Path) -> None:
        with Slide(shared / "slides" / "test3-DAPI-2_387.ndpi") as slide:
            assert slide.mpp.x == pytest.approx(0.228175, rel=1e-4)
            tissue = find_tissue(slide)
        assert not tissue.mask.any() and "brightfield" in tissue.warnings[0]

    def test_a_dicom_folder_is_one_slide(self, shared: Path) -> None:
        with Slide(shared / "slides" / "dicom" / "cmu-1-small-region") as slide:
            assert (slide.mpp.x, slide.size, len(slide.describe()["levels"])) == (0.499, (2220, 2967), 12)
            assert slide.read(1000, 1000, 8, 8, 4.0).std() > 0
            assert find_tissue(slide).warnings  # its colours were stored wrongly

    @pytest.mark.parametrize("name", ["broken.svs", "flat_not_openslide.tif", "not_wsi.dcm", "unreadable.svs"])
    def test_a_broken_file_is_one_line_that_names_it(self, shared: Path, name: str) -> None:
        # All but the last fail as they are opened.
        with pytest.raises(SlideError, match=rf"^[^\n]*{name}: [^\n]*$"):
            slide = Slide(shared / "slides" / "broken" / name)
            assert name == "unreadable.svs"
            find_tissue(slide)


def test_a_pen_line_through_fat_and_stroma_is_never_tissue(tmp_path: Path) -> None:
    """Closing over fat cells would take a thin line back in."""
    section = paint_section(3.0, 2.4, 4.0, seed=1)
    pixels = section.pixels.copy()
    pixels[296:306] = (30, 60, 160)
    tissue = look_at(tmp_path, pixels)
    assert not tissue.mask[149:152].any()
    assert tissue.ink_mm2 > 0.8 * 3.0 * 0.04


def test_a_section_without_colour_is_warned_of(tmp_path: Path) -> None:
    section = paint_section(3.0, 2.4, 4.0, seed=1)
    grey = section.pixels.mean(axis=2, keepdims=True).astype(np.uint8).repeat(3, axis=2)
    assert any("no colour" in w for w in look_at(tmp_path, grey).warnings)
    assert look_at(tmp_path, section.pixels).warnings == ()


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=30)))
def test_the_mask_is_closed_and_opened_as_scipy_does(mask: np.ndarray) -> None:
    square = np.ones((3, 3), bool)
    expected = binary_dilation(binary_dilation(mask, square, 3), None, 4)
    expected = binary_erosion(binary_erosion(expected, square, 3, border_value=1), None, 4, border_value=1)
    np.testing.assert_array_equal(closed(mask), binary_dilation(binary_erosion(expected, border_value=1)))
