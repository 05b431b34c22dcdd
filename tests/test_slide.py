from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_idc import slide as slide_module
from wsi_idc.errors import SlideError
from wsi_idc.readers import Reader, open_reader
from wsi_idc.slide import Slide, claim_mpp

quick = settings(max_examples=60, deadline=None)
WIDTH, HEIGHT = 96, 80
DOWNSAMPLES = (1, 2, 4)
rectangles = st.tuples(
    st.floats(-40, 110), st.floats(-40, 100), st.integers(1, 30), st.integers(1, 30), st.floats(0.2, 12)
)


def write_levels(path: Path, levels: list[np.ndarray], mpp: tuple[float, float] = (1.0, 1.0)) -> Path:
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


def by_hand(
    level: np.ndarray, start: tuple[float, float], scale: tuple[float, float], size: tuple[int, int]
) -> np.ndarray:
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
def noise(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Slide, list[np.ndarray]]:
    # Levels without likeness, so that a wrong level shows.
    rng = np.random.default_rng(7)
    levels = [rng.integers(0, 256, (HEIGHT // d, WIDTH // d, 3), np.uint8) for d in DOWNSAMPLES]
    slide = Slide(write_levels(tmp_path_factory.mktemp("noise") / request.param, levels))
    assert slide.describe()["reader"] == ("tifffile" if "ome" in request.param else "openslide")
    assert [v["downsample"] for v in slide.describe()["levels"]] == list(DOWNSAMPLES)
    return slide, levels


@quick
@given(rectangles)
def test_read_averages_the_right_level_exactly(
    noise: tuple[Slide, list[np.ndarray]], rectangle: tuple[float, float, int, int, float]
) -> None:
    slide, levels = noise
    x, y, width, height, mpp = rectangle
    i = max((i for i, d in enumerate(DOWNSAMPLES) if d <= 1.01 * mpp), default=0)
    d = DOWNSAMPLES[i]
    expected = by_hand(levels[i], (x / d, y / d), (mpp / d, mpp / d), (width, height))
    got = slide.read(x, y, width, height, mpp)
    assert slide.best_level(mpp) == i
    assert got.shape == (height, width, 3) and got.dtype == np.uint8
    assert np.abs(got - expected).max() <= 0.502


@quick
@given(rectangles, st.floats(0, 1), st.integers(5, 60))
def test_whole_equals_halves_equals_small_blocks(
    noise: tuple[Slide, list[np.ndarray]], rectangle: tuple[float, float, int, int, float], cut: float, side: int
) -> None:
    slide, _ = noise
    x, y, width, height, mpp = rectangle
    whole = slide.read(x, y, width, height, mpp)
    left, top = round(cut * width), round(cut * height)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slide_module, "_READ_SIDE", side)
        assert np.array_equal(slide.read(x, y, width, height, mpp), whole)
    halves = [slide.read(x, y, left, height, mpp), slide.read(x + left * mpp, y, width - left, height, mpp)]
    assert np.array_equal(np.concatenate(halves, 1), whole)
    halves = [slide.read(x, y, width, top, mpp), slide.read(x, y + top * mpp, width, height - top, mpp)]
    assert np.array_equal(np.concatenate(halves, 0), whole)


@pytest.mark.parametrize(("x", "y"), [(-1000, 0), (0, -1000), (WIDTH, 0), (0, HEIGHT), (1e6, 1e6)])
def test_outside_the_slide_is_white(noise: tuple[Slide, list[np.ndarray]], x: float, y: float) -> None:
    assert (noise[0].read(x, y, 5, 4, 3.0) == 255).all()


@pytest.fixture(scope="module", params=["ramp.tif", "ramp.ome.tif"])
def ramps(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Slide]:
    folder = tmp_path_factory.mktemp("ramp")
    made = {}
    for name, downsamples in {"flat": (1,), "even": (1, 2, 4, 8), "odd": (1, 56 / 15, 56 / 9)}.items():
        levels = [ramp(d, (56, 56)) for d in downsamples]
        made[name] = Slide(write_levels(folder / f"{name}{request.param}", levels, (0.5, 0.5)))
        assert [v["downsample"] for v in made[name].describe()["levels"]] == pytest.approx(downsamples)
    return made


@quick
@given(st.sampled_from(["flat", "even", "odd"]), st.floats(0.3, 5), st.floats(0, 1), st.floats(0, 1), st.data())
def test_geometry_is_exact_at_any_scale_and_level(
    ramps: dict[str, Slide], name: str, mpp: float, across: float, down: float, data: st.DataObject
) -> None:
    slide, step = ramps[name], mpp / 0.5
    width, height = (data.draw(st.integers(1, int(56 / step))) for _ in range(2))
    x, y = across * (56 - width * step), down * (56 - height * step)
    got = slide.read(x, y, width, height, mpp).astype(float)
    # The average of an affine image over a pixel is its value at the centre, in pixels whose centres are at .5.
    u, v = x + (np.arange(width) + 0.5) * step - 0.5, y + (np.arange(height) + 0.5) * step - 0.5
    # A level holds steps, not a slope: an average cut at fractions of a pixel is off by up to d^2 / 4 / step of it.
    d = slide.describe()["levels"][slide.best_level(mpp)]["downsample"]
    slack = 0.51 + (0.55 if name == "odd" and d > 1 else 0) + 4 * min(d * d / 4 / step, d / 2)
    assert np.abs(got[..., 0] - (4 * u + 8)).max() <= slack
    assert np.abs(got[..., 1] - (4 * v + 8)[:, None]).max() <= slack
    assert np.abs(got[..., 2] - (2 * (u + v[:, None]) + 10)).max() <= slack


@pytest.mark.parametrize("mpp", [0.5, 1.0, 2.0, 4.0])
def test_pyramid_and_flat_file_agree_where_pixels_align(ramps: dict[str, Slide], mpp: float) -> None:
    flat, pyramid = ramps["flat"], ramps["even"]
    size = round(28 / mpp)
    assert pyramid.best_level(mpp) == [0.5, 1.0, 2.0, 4.0].index(mpp)
    assert flat.best_level(mpp) == 0
    assert np.array_equal(flat.read(0, 0, size, size, mpp), pyramid.read(0, 0, size, size, mpp))


def test_a_level_one_percent_coarser_still_serves(ramps: dict[str, Slide]) -> None:
    assert ramps["even"].best_level(1.0 / 1.0099) == 1
    assert ramps["even"].best_level(1.0 / 1.02) == 0
    assert ramps["even"].best_level(0.1) == 0


def test_axes_of_unequal_scale(tmp_path: Path) -> None:
    slide = Slide(write_levels(tmp_path / "a.tif", [ramp()], (0.5, 0.508)))
    expected = by_hand(ramp(), (3.3, 5.7), (0.8 / 0.5, 0.8 / 0.508), (20, 15))
    assert np.abs(slide.read(3.3, 5.7, 20, 15, 0.8) - expected).max() <= 0.502


def bounded(monkeypatch: pytest.MonkeyPatch, path: Path, x: int, y: int, width: int, height: int) -> Slide:
    def fake(path: Path) -> Reader:
        reader = open_reader(path)
        for name, value in {"x": x, "y": y, "width": width, "height": height}.items():
            reader.properties[f"openslide.bounds-{name}"] = str(value)
        return reader

    monkeypatch.setattr(slide_module, "open_reader", fake)
    return Slide(path)


@pytest.mark.parametrize("name", ["b.tif", "b.ome.tif"])
@pytest.mark.parametrize(("x", "y"), [(8, 16), (9, 13)])
@pytest.mark.parametrize("downsample", [1, 2, 4, 8])
def test_pixel_0_0_is_the_corner_of_the_bounds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, x: int, y: int, downsample: int
) -> None:
    levels = [ramp(d, (56, 48)) for d in (1, 2, 4, 8)]
    slide = bounded(monkeypatch, write_levels(tmp_path / name, levels), x, y, 40, 24)
    assert slide.size == (40, 24)
    assert slide.describe()["bounds_offset"] == [x, y]
    got = slide.read(0, 0, 40 // downsample, 24 // downsample, float(downsample))
    whole = by_hand(ramp(), (x, y), (downsample, downsample), (40 // downsample, 24 // downsample))
    assert np.abs(got - whole).max() <= 1.01
    assert (slide.read(40, 0, 3, 3, float(downsample)) == 255).all()


def test_bounds_that_state_only_a_corner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fake(path: Path) -> Reader:
        reader = open_reader(path)
        reader.properties |= {"openslide.bounds-x": "6", "openslide.bounds-y": "2"}
        return reader

    monkeypatch.setattr(slide_module, "open_reader", fake)
    slide = Slide(write_levels(tmp_path / "c.tif", [ramp()]))
    assert slide.size == (50, 46)
    assert np.array_equal(slide.read(0, 0, 50, 46, 1.0), ramp()[2:, 6:])


def test_a_refused_scale_can_be_given(tmp_path: Path) -> None:
    path = write_levels(tmp_path / "absurd.tif", [ramp()], (100.0, 100.0))
    with pytest.raises(SlideError, match=r"absurd\.tif.*100 x 100.*--mpp"):
        Slide(path)
    with Slide(path, mpp=0.25) as slide:
        assert (slide.mpp.x, slide.mpp.y, slide.mpp.source) == (0.25, 0.25, "--mpp")
        assert slide.area_mm2 == pytest.approx(56 * 48 * 0.0625 / 1e6)


def stated(x: object, y: object = None, prefix: str = "openslide") -> dict[str, str]:
    return {f"{prefix}.mpp-x": str(x), f"{prefix}.mpp-y": str(x if y is None else y)}


def tags(unit: str, per_unit: float) -> dict[str, str]:
    return {"tiff.ResolutionUnit": unit, "tiff.XResolution": str(per_unit), "tiff.YResolution": str(per_unit)}


def power(times: int) -> dict[str, str]:
    return {"openslide.objective-power": str(times)}


@pytest.mark.parametrize(
    ("properties", "x", "y", "source"),
    [
        ({"openslide.vendor": "aperio"} | stated(0.499, 0.5), 0.499, 0.5, "aperio"),
        ({"openslide.vendor": "generic-tiff"} | stated(0.5), 0.5, 0.5, "TIFF"),
        (tags("inch", 50_800), 0.5, 0.5, "TIFF"),
        (tags("centimeter", 40_000), 0.25, 0.25, "TIFF"),
        (stated(0.25, 0.252, "ome"), 0.25, 0.252, "OME"),
        (power(40), 0.25, 0.25, "objective"),
        (power(20), 0.5, 0.5, "objective"),
    ],
)
def test_where_the_scale_comes_from(properties: dict[str, str], x: float, y: float, source: str) -> None:
    claim = claim_mpp(Path("s.svs"), properties)
    assert (claim.x, claim.y) == pytest.approx((x, y))
    assert source in claim.source
    assert claim.estimated == (source == "objective")


def test_of_several_claims_the_surest_is_taken() -> None:
    properties: dict[str, str] = {}
    more = [(power(40), 0.25), (tags("inch", 50_800), 0.5), (stated(0.75, prefix="ome"), 0.75), (stated(1), 1.0)]
    for added, expected in more:
        properties |= added
        assert claim_mpp(Path("s"), properties).x == pytest.approx(expected)
    given = claim_mpp(Path("s"), properties, 2.0)
    assert (given.x, given.y, given.source, given.estimated) == (2.0, 2.0, "--mpp", False)


@pytest.mark.parametrize(
    "properties",
    [
        {},
        tags("none", 20_000),
        tags("inch", 72),
        {"openslide.mpp-x": "0.5"},
        power(0),
        *(stated(x) for x in ("", "none", "nan", "inf", 0, -0.5, 0.0499, 20.1, 100)),
        stated(0.5, 0.5101),
        stated(0.5101, 0.5),
    ],
)
def test_no_scale_or_one_that_cannot_be_true_is_refused(properties: dict[str, str]) -> None:
    with pytest.raises(SlideError, match=r"^folder/some\.svs: [^\n]*--mpp[^\n]*$"):
        claim_mpp(Path("folder/some.svs"), properties)
    assert claim_mpp(Path("folder/some.svs"), properties, 0.5).x == 0.5


@pytest.mark.parametrize("given", [0.0, -0.5, 0.0499, 20.1, 100.0, float("nan"), float("inf")])
def test_a_given_scale_is_checked_too(given: float) -> None:
    with pytest.raises(SlideError, match=r"s\.svs.*--mpp"):
        claim_mpp(Path("s.svs"), stated(0.5), given)


@pytest.mark.parametrize(("x", "y"), [(0.05, 0.05), (20, 20), (0.5, 0.51), (1.02, 1), (0.25, 0.255)])
def test_the_limits_themselves_are_accepted(x: float, y: float) -> None:
    claim = claim_mpp(Path("s.svs"), stated(x, y))
    assert (claim.x, claim.y) == (x, y)
