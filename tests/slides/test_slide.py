from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_idc.errors import SlideError
from wsi_idc.slides import slide as slide_module
from wsi_idc.slides.open import Opened, open_file
from wsi_idc.slides.scale import claim_mpp
from wsi_idc.slides.slide import Slide
from wsi_idc.slides.write import write_slide

quick = settings(max_examples=60)
DOWNSAMPLES = (1, 2, 4)
sides, fractions = st.integers(1, 30), st.floats(0, 1)
rectangles = st.tuples(st.floats(-40, 110), st.floats(-40, 100), sides, sides, st.floats(0.2, 12))
Pair = tuple[float, float]
Rectangle = tuple[float, float, int, int, float]  # x, y, width, height, mpp
Levels = tuple[Slide, list[np.ndarray]]


def write_levels(path: Path, levels: list[np.ndarray], mpp: Pair = (1.0, 1.0)) -> Path:
    """Write a tiled pyramid (read by OpenSlide) or, named .ome.tif, one of strips (read by tifffile)."""
    per_cm = (1e4 / mpp[0], 1e4 / mpp[1])
    common = {"photometric": "rgb", "compression": "deflate", "resolution": per_cm, "resolutionunit": "CENTIMETER"}
    ome = path.name.endswith(".ome.tif")
    layout = {"rowsperstrip": 16} if ome else {"tile": (16, 16), "metadata": None}
    with tifffile.TiffWriter(path, ome=ome) as tiff:
        for i, level in enumerate(levels):
            subifds = {"subifds": len(levels) - 1} if ome and i == 0 else {}
            tiff.write(level, subfiletype=int(i > 0), **common, **layout, **subifds)
    return path


def ramp(downsample: float = 1.0, size: tuple[int, int] = (56, 48)) -> np.ndarray:
    """4x + 8, 4y + 8 and 2(x + y) + 10 at pixel (x, y) of level 0: whole numbers at every downsample used here."""
    width, height = (round(s / downsample) for s in size)
    y, x = (np.indices((height, width)) + 0.5) * downsample - 0.5
    return np.rint(np.stack([4 * x + 8, 4 * y + 8, 2 * (x + y) + 10], -1)).astype(np.uint8)


def by_hand(level: np.ndarray, start: Pair, scale: Pair, size: tuple[int, int]) -> np.ndarray:
    """Average `level` over white glass by differences of its running sums, which are exact between pixels too."""
    excess = level.astype(float) - 255
    for axis, (s, k, n) in enumerate(zip(start[::-1], scale[::-1], size[::-1], strict=True)):
        sums = np.insert(np.cumsum(excess, axis), 0, 0, axis)
        edges = np.clip(s + k * np.arange(n + 1), 0, level.shape[axis])
        at = np.minimum(edges.astype(int), level.shape[axis] - 1)
        part = np.expand_dims(edges - at, [a for a in range(3) if a != axis])
        running = sums.take(at, axis) * (1 - part) + sums.take(at + 1, axis) * part
        excess = np.diff(running, axis=axis) / k
    return excess + 255


@pytest.fixture(scope="module", params=["noise.tif", "noise.ome.tif"])
def noise(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Levels:
    # Levels without likeness, so that a wrong level shows.
    rng = np.random.default_rng(7)
    levels = [rng.integers(0, 256, (80 // d, 96 // d, 3), np.uint8) for d in DOWNSAMPLES]
    slide = Slide(write_levels(tmp_path_factory.mktemp("noise") / request.param, levels))
    assert slide.describe()["reader"] == ("tifffile" if "ome" in request.param else "openslide")
    assert [v["downsample"] for v in slide.describe()["levels"]] == list(DOWNSAMPLES)
    slide._likeness.holds = lambda level: True  # type: ignore[method-assign]
    return slide, levels


@quick
@given(rectangles)
def test_read_averages_the_right_level_exactly(noise: Levels, rectangle: Rectangle) -> None:
    slide, levels = noise
    x, y, width, height, mpp = rectangle
    i = max((i for i, d in enumerate(DOWNSAMPLES) if 1.98 * d <= mpp), default=0)
    d = DOWNSAMPLES[i]
    expected = by_hand(levels[i], (x / d, y / d), (mpp / d, mpp / d), (width, height))
    got = slide.read(x, y, width, height, mpp)
    assert slide.best_level(mpp) == i
    assert got.shape == (height, width, 3) and got.dtype == np.uint8
    assert np.abs(got - expected).max() <= 0.502


@quick
@given(rectangles, fractions, st.integers(5, 60))
def test_whole_equals_halves_equals_small_blocks(noise: Levels, rectangle: Rectangle, cut: float, side: int) -> None:
    slide, _ = noise
    x, y, width, height, mpp = rectangle
    whole = slide.read(x, y, width, height, mpp)
    left, top = round(cut * width), round(cut * height)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slide_module, "READ_SIDE", side)
        assert np.array_equal(slide.read(x, y, width, height, mpp), whole)
    halves = [slide.read(x, y, left, height, mpp), slide.read(x + left * mpp, y, width - left, height, mpp)]
    assert np.array_equal(np.concatenate(halves, 1), whole)
    halves = [slide.read(x, y, width, top, mpp), slide.read(x, y + top * mpp, width, height - top, mpp)]
    assert np.array_equal(np.concatenate(halves, 0), whole)


@pytest.fixture(scope="module", params=["ramp.tif", "ramp.ome.tif"])
def ramps(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Slide]:
    folder = tmp_path_factory.mktemp("ramp")
    made = {}
    for name, downsamples in {"flat": (1,), "even": (1, 2, 4, 8), "odd": (1, 56 / 15, 56 / 9)}.items():
        levels = [ramp(d, (56, 56)) for d in downsamples]
        made[name] = Slide(write_levels(folder / f"{name}{request.param}", levels, (0.5, 0.5)))
        assert [v["downsample"] for v in made[name].describe()["levels"]] == pytest.approx(downsamples)
    return made


def off_the_slope(slide: Slide, x: float, y: float, width: int, height: int, mpp: float) -> float:
    """Return how far a read is from the values of the slope at the centres of its pixels, less what rounding allows."""
    got, step = slide.read(x, y, width, height, mpp).astype(float), mpp / 0.5
    u, v = x + (np.arange(width) + 0.5) * step - 0.5, y + (np.arange(height)[:, None] + 0.5) * step - 0.5
    off = np.max([np.abs(got[..., i] - e).max() for i, e in enumerate((4 * u + 8, 4 * v + 8, 2 * (u + v) + 10))])
    # A level holds steps, not a slope: an average cut at fractions of a pixel is off by up to d^2 / 4 / step of it.
    d = slide.describe()["levels"][slide.best_level(mpp)]["downsample"]
    return off - 4 * min(d * d / 4 / step, d / 2) - (0.51 if d in (1, 2, 4, 8) else 1.6)


@quick
@given(st.sampled_from(["flat", "even", "odd"]), st.floats(0.3, 5), st.lists(fractions, min_size=4, max_size=4))
def test_geometry_is_exact_at_any_scale(ramps: dict[str, Slide], name: str, mpp: float, draw: list[float]) -> None:
    width, height = (1 + int(d * (28 / mpp - 1)) for d in draw[:2])
    x, y = draw[2] * (56 - width * 2 * mpp), draw[3] * (56 - height * 2 * mpp)
    assert off_the_slope(ramps[name], x, y, width, height, mpp) <= 0


@pytest.mark.parametrize("level", [1, 2])
def test_reads_that_begin_on_a_pixel_of_an_odd_level(ramps: dict[str, Slide], level: int) -> None:
    slide = ramps["odd"]
    d = slide.describe()["levels"][level]["downsample"]
    # Twice the scale of the level, 0.5 um/px times its downsample.
    assert slide.best_level(d) == level
    for i in range(round(49 / d) - 2):
        assert off_the_slope(slide, i * d, i * d, 1, 1, d) <= 0


@pytest.mark.parametrize("mpp", [1.9, 2.7, 3.3])
def test_blocks_leave_no_seam_on_an_odd_level(ramps: dict[str, Slide], mpp: float) -> None:
    whole = ramps["odd"].read(0, 0, 8, 8, mpp)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slide_module, "READ_SIDE", 3)
        assert np.array_equal(ramps["odd"].read(0, 0, 8, 8, mpp), whole)


@pytest.mark.parametrize("mpp", [0.5, 1.0, 2.0, 4.0])
def test_pyramid_and_flat_file_agree_where_pixels_align(ramps: dict[str, Slide], mpp: float) -> None:
    flat, pyramid = ramps["flat"], ramps["even"]
    size = round(28 / mpp)
    # A level serves from half the scale on.
    assert pyramid.best_level(mpp) == {0.5: 0, 1.0: 0, 2.0: 1, 4.0: 2}[mpp]
    assert flat.best_level(mpp) == 0
    apart = flat.read(0, 0, size, size, mpp).astype(int) - pyramid.read(0, 0, size, size, mpp)
    # A mean of rounded means.
    assert np.abs(apart).max() <= 1


def test_a_level_one_percent_coarser_than_half_still_serves(ramps: dict[str, Slide]) -> None:
    assert ramps["even"].best_level(2.0 / 1.0099) == 1
    assert ramps["even"].best_level(2.0 / 1.02) == 0
    assert ramps["even"].best_level(0.1) == 0


def test_axes_of_unequal_scale(tmp_path: Path) -> None:
    slide = Slide(write_levels(tmp_path / "a.tif", [ramp()], (0.5, 0.508)))
    expected = by_hand(ramp(), (3.3, 5.7), (0.8 / 0.5, 0.8 / 0.508), (20, 15))
    assert np.abs(slide.read(3.3, 5.7, 20, 15, 0.8) - expected).max() <= 0.502


def bounded(monkeypatch: pytest.MonkeyPatch, path: Path, **bounds: int) -> Slide:
    def fake(path: Path, series: int | None) -> Opened:
        opened = open_file(path, series)
        opened.reader.properties |= {f"openslide.bounds-{name}": str(value) for name, value in bounds.items()}
        return opened

    monkeypatch.setattr(slide_module, "open_file", fake)
    return Slide(path)


@pytest.mark.parametrize("name", ["b.tif", "b.ome.tif"])
@pytest.mark.parametrize(("x", "y"), [(8, 16), (9, 13)])
@pytest.mark.parametrize("downsample", [1, 2, 4, 8])
def test_pixel_0_0_is_the_corner_of_the_bounds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, x: int, y: int, downsample: int
) -> None:
    levels = [ramp(d, (56, 48)) for d in (1, 2, 4, 8)]
    slide = bounded(monkeypatch, write_levels(tmp_path / name, levels), x=x, y=y, width=40, height=24)
    assert slide.size == (40, 24)
    assert slide.describe()["bounds_offset"] == [x, y]
    got = slide.read(0, 0, 40 // downsample, 24 // downsample, float(downsample))
    whole = by_hand(ramp(), (x, y), (downsample, downsample), (40 // downsample, 24 // downsample))
    assert np.abs(got - whole).max() <= 1.01
    assert (slide.read(40, 0, 3, 3, float(downsample)) == 255).all()


def test_bounds_that_state_only_a_corner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slide = bounded(monkeypatch, write_levels(tmp_path / "c.tif", [ramp()]), x=6, y=2)
    assert slide.size == (50, 46)
    assert np.array_equal(slide.read(0, 0, 50, 46, 1.0), ramp()[2:, 6:])


def stated(x: object, y: object = None, by: str = "openslide") -> dict[str, str]:
    return {f"{by}.mpp-x": str(x), f"{by}.mpp-y": str(x if y is None else y)}


def tags(unit: str, per_unit: float) -> dict[str, str]:
    return {"tiff.ResolutionUnit": unit, "tiff.XResolution": str(per_unit), "tiff.YResolution": str(per_unit)}


POWER = "openslide.objective-power"
CLAIMS = [
    ({POWER: "40"}, 0.25, "objective"),
    ({POWER: "20"}, 0.5, "objective"),
    (tags("inch", 50_800), 0.5, "TIFF"),
    (tags("centimeter", 40_000), 0.25, "TIFF"),
    (stated(0.499) | {"openslide.vendor": "generic-tiff"}, 0.499, "TIFF"),
    (stated(0.75, by="ome"), 0.75, "OME"),
    (stated(0.499) | {"openslide.vendor": "aperio"}, 0.499, "aperio"),
]


def test_where_the_scale_comes_from_and_which_claim_wins() -> None:
    properties: dict[str, str] = {}
    for more, x, source in CLAIMS:  # each is surer than those above it
        properties |= more
        for claim in (claim_mpp(Path("s.svs"), more), claim_mpp(Path("s.svs"), properties)):
            assert (claim.x, claim.y) == pytest.approx((x, x))
            assert source in claim.source and claim.estimated == (source == "objective")
        given = claim_mpp(Path("s.svs"), properties, 2.0)
        assert (given.x, given.y, given.source, given.estimated) == (2.0, 2.0, "--mpp", False)


BAD = [{}, tags("none", 2e4), tags("inch", 72), {"openslide.mpp-x": "0.5"}, {POWER: "0"}, stated(0.5, 0.5101)]
BAD += [stated(x) for x in ("", "none", "nan", "inf", 0, -0.5, 0.0499, 20.1, 100)]


@pytest.mark.parametrize("properties", BAD)
def test_no_scale_or_one_that_cannot_be_true_is_refused(properties: dict[str, str]) -> None:
    with pytest.raises(SlideError, match=r"^folder/some\.svs: [^\n]*--mpp[^\n]*$"):
        claim_mpp(Path("folder/some.svs"), properties)
    assert claim_mpp(Path("folder/some.svs"), properties, 0.5).x == 0.5


@pytest.mark.parametrize("wrong", [0.0, -0.5, 0.0499, 20.1, 100.0, float("nan"), float("inf")])
def test_a_given_scale_is_checked_too(wrong: float) -> None:
    with pytest.raises(SlideError, match=r"s\.svs.*--mpp"):
        claim_mpp(Path("s.svs"), stated(0.5), wrong)


@pytest.mark.parametrize(("x", "y"), [(0.05, 0.05), (20, 20), (0.5, 0.51), (1.02, 1), (0.25, 0.255)])
def test_the_limits_themselves_are_accepted(x: float, y: float) -> None:
    claim = claim_mpp(Path("s.svs"), stated(x, y))
    assert (claim.x, claim.y) == (x, y)


def test_a_change_anywhere_in_a_file_changes_its_fingerprint(tmp_path: Path) -> None:
    """Uncompressed slides of equal size whose start, middle and end are glass."""
    pixels = np.full((400, 600, 3), 240, np.uint8)
    seen = set()
    for row in (None, 30, 100, 130, 290):
        changed = pixels.copy()
        if row is not None:
            changed[row, 300] = 90
        path = write_slide(tmp_path / "s.tif", changed, 1.0, downsamples=(1,), compression="none")
        with Slide(path) as slide:
            seen.add(slide.fingerprint)
    assert len(seen) == 5


def test_a_stated_scale_that_mpp_contradicts_is_a_warning(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "s.tif", np.full((64, 64, 3), 200, np.uint8), 0.5, downsamples=(1,))
    for mpp, count in ((None, 0), (0.5, 0), (0.503, 0), (0.51, 1), (0.25, 1)):
        with Slide(path, mpp) as slide:
            assert len(slide.warnings) == count
