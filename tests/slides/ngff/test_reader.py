"""OME-Zarr images as slides: pixels, levels and scale as they were written, and what is said where they are not."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wsi_idc
from wsi_idc.demo.painter import PaintedSection
from wsi_idc.errors import ScaleError, SlideError
from wsi_idc.heatmap.store import read_heatmap
from wsi_idc.slides.slide import Slide, describe_slide
from wsi_idc.slides.write import write_slide

from stores import multiscale, smaller, write_group, write_image, write_level

RNG = np.random.default_rng(7)
# With black, which is not what is missing.
PIXELS = RNG.integers(0, 256, (300, 420, 3), np.uint8)
PIXELS[40:60, 70:90] = 0


def whole(slide: Slide) -> np.ndarray:
    return slide.read(0, 0, *slide.size, mpp=slide.mpp.x)


def off(found: np.ndarray, expected: np.ndarray) -> int:
    """How far pixels are from others at most: means are rounded once or twice."""
    return int(np.abs(found.astype(int) - expected).max())


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["tczyx", "cyx", "yxc", "zyxc", "cxy", "xycz"])
def test_axes_in_any_order(tmp_path: Path, version: str, axes: str) -> None:
    with Slide(write_image(tmp_path / "a.zarr", PIXELS, version=version, axes=axes)) as slide:
        assert np.array_equal(whole(slide), PIXELS)
        assert (slide.mpp.x, slide.mpp.source) == (0.5, "OME-Zarr scale")
        assert off(slide.read(0, 0, 105, 75, mpp=2.0), smaller(smaller(PIXELS, 2), 2)) <= 1
        assert slide.warnings == ()


@pytest.mark.parametrize("axes", ["tczyx", "yxc"])
def test_shards(tmp_path: Path, axes: str) -> None:
    with Slide(write_image(tmp_path / "a.zarr", PIXELS, axes=axes, sharded=True)) as slide:
        assert np.array_equal(whole(slide), PIXELS) and slide.warnings == ()


def test_chunks_named_by_dots(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.zarr", PIXELS, version="0.4", separator=".")
    assert (path / "0" / "0.2.0.4.6").is_file()
    with Slide(path) as slide:
        assert np.array_equal(whole(slide), PIXELS) and slide.warnings == ()
    (path / "0" / "0.2.0.4.6").rename(path / "0" / "0-2-0-4-6")
    with Slide(path) as slide:
        assert "1 of the 35 chunks" in slide.warnings[0]


def test_chunks_that_are_named_otherwise_than_stated_are_missing(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.zarr", PIXELS, version="0.4", separator=".", by=(1,))
    file = path / "0" / ".zarray"
    file.write_text(file.read_text().replace('"dimension_separator": "."', '"dimension_separator": "/"'))
    with pytest.raises(SlideError, match="none of the chunks of its finest level are in the store"):
        Slide(path)


def test_any_rectangle_is_read_alike_by_many_threads(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (900, 1300, 3), np.uint8)
    with Slide(write_image(tmp_path / "a.zarr", pixels, by=(1,))) as slide:
        right = []

        def read(seed: int) -> None:
            rng = np.random.default_rng(seed)
            for _ in range(5):
                x, y = (int(v) for v in rng.integers(-50, 880, 2))
                expected = np.full((200, 300, 3), 255, np.uint8)
                inside = pixels[max(y, 0) : y + 200, max(x, 0) : x + 300]
                top, left = max(-y, 0), max(-x, 0)
                expected[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
                right.append(np.array_equal(slide.read(x, y, 300, 200, 0.5), expected))

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(right) == 30 and all(right)


@pytest.mark.parametrize(
    ("unit", "stated", "mpp"),
    [("micrometer", 0.25, 0.25), ("nanometer", 250.0, 0.25), ("millimeter", 0.00025, 0.25), ("µm", 0.25, 0.25)],
)
def test_units(tmp_path: Path, unit: str, stated: float, mpp: float) -> None:
    write_image(tmp_path / "a.zarr", PIXELS, stated, axes="yxc", change=multiscale("yxc", stated, (1, 2), unit))
    with Slide(tmp_path / "a.zarr") as slide:
        assert slide.mpp.x == pytest.approx(mpp)
        assert [v["downsample"] for v in slide.describe()["levels"]] == [1, 2]


def test_the_scale_of_all_levels_counts_too(tmp_path: Path) -> None:
    more = {"coordinateTransformations": [{"type": "scale", "scale": [0.5, 0.5, 1.0]}]}
    with Slide(write_image(tmp_path / "a.zarr", PIXELS, 1.0, axes="yxc", change=more)) as slide:
        assert slide.mpp.x == 0.5


@pytest.mark.parametrize("unit", [None, "pixel"])
def test_without_a_unit_of_length_the_scale_is_not_known(tmp_path: Path, unit: str | None) -> None:
    path = write_image(tmp_path / "a.zarr", PIXELS, axes="yxc", change=multiscale("yxc", 0.5, (1, 2), unit))
    with pytest.raises(ScaleError, match="does not state its scale"):
        Slide(path)
    with Slide(path, 0.25) as slide:
        assert slide.mpp.x == 0.25
        assert [v["downsample"] for v in slide.describe()["levels"]] == [1, 2], "levels state how far apart they are"
    assert describe_slide(path)["scale_problem"]


def test_a_scale_that_is_not_stated_is_not_taken_for_one(tmp_path: Path) -> None:
    one = multiscale("yxc", 0.5, (1, 2))
    for level in one["datasets"]:
        del level["coordinateTransformations"]
    with pytest.raises(ScaleError, match="does not state"):
        Slide(write_image(tmp_path / "a.zarr", PIXELS, axes="yxc", change=one))


def test_levels_in_the_wrong_order(tmp_path: Path) -> None:
    one = multiscale("yxc", 0.5, (1, 2, 4))
    one["datasets"].reverse()
    with Slide(write_image(tmp_path / "a.zarr", PIXELS, axes="yxc", by=(1, 2, 4), change=one)) as slide:
        assert slide.mpp.x == 0.5 and np.array_equal(whole(slide), PIXELS)
        assert [v["downsample"] for v in slide.describe()["levels"]] == [1, 2, 4]


def shifted(one: dict[str, Any]) -> None:
    one["datasets"][1]["coordinateTransformations"].append({"type": "translation", "translation": [50.0, 0.0, 0.0]})


def of_another_scale(one: dict[str, Any]) -> None:
    one["datasets"][1]["coordinateTransformations"][0]["scale"] = [2.0, 2.0, 1.0]


@pytest.mark.parametrize("change", [shifted, of_another_scale])
def test_a_level_that_contradicts_itself_is_not_used(tmp_path: Path, change: Any) -> None:
    one = multiscale("yxc", 0.5, (1, 2))
    change(one)
    with Slide(write_image(tmp_path / "a.zarr", PIXELS, axes="yxc", change=one)) as slide:
        assert [v["downsample"] for v in slide.describe()["levels"]] == [1]
        assert "smaller copy of 210 x 150 px does not agree" in slide.warnings[0]
        assert off(slide.read(0, 0, 210, 150, 1.0), smaller(PIXELS, 2)) <= 1


def test_centres_of_pixels_as_the_place_of_a_level(tmp_path: Path) -> None:
    one = multiscale("yxc", 0.5, (1, 4))
    one["datasets"][1]["coordinateTransformations"].append({"type": "translation", "translation": [0.75, 0.75, 0.0]})
    with Slide(write_image(tmp_path / "a.zarr", PIXELS, axes="yxc", by=(1, 4), change=one)) as slide:
        assert len(slide.describe()["levels"]) == 2 and slide.warnings == ()


def test_of_many_focal_planes_the_middle_one(tmp_path: Path) -> None:
    group = write_group(tmp_path / "a.zarr", {"multiscales": [multiscale("tczyx", 0.5, (1,))]})
    planes = [np.full_like(PIXELS, 10), PIXELS, np.full_like(PIXELS, 20)]
    values = np.stack([p.transpose(2, 0, 1) for p in planes], 1)
    write_level(group, "0", np.stack([values, values // 2]), (1, 1, 2, 64, 64))
    with Slide(tmp_path / "a.zarr") as slide:
        assert np.array_equal(whole(slide), PIXELS)
        said = "holds 3 focal planes, of which the middle one, 2, was looked at; holds 2 times, of which the first"
        assert said in slide.warnings[0]


def chunk_of(folder: Path, level: int, row: int, column: int) -> list[Path]:
    found = [folder / str(level) / "c" / "0" / str(c) / "0" / str(row) / str(column) for c in range(3)]
    assert all(file.is_file() for file in found)
    return found


@pytest.mark.parametrize("colours", [1, 3])
def test_a_missing_chunk_is_not_scanned_and_never_black(tmp_path: Path, colours: int) -> None:
    path = write_image(tmp_path / "a.zarr", PIXELS, by=(1,))
    for file in chunk_of(path, 0, 2, 3)[:colours]:
        file.unlink()
    expected = PIXELS.copy()
    expected[128:192, 192:256] = 255
    with Slide(path) as slide:
        assert np.array_equal(whole(slide), expected)
        assert (
            "1 of the 35 chunks of the image are not in its store, and were taken as not scanned" in slide.warnings[0]
        )


def test_black_that_was_left_out_of_a_shard_is_not_scanned_either(tmp_path: Path) -> None:
    pixels = PIXELS.copy()
    pixels[:64, :64] = 0
    with Slide(write_image(tmp_path / "a.zarr", pixels, sharded=True, by=(1,))) as slide:
        pixels[:64, :64] = 255
        assert np.array_equal(whole(slide), pixels)


def test_a_level_that_lacks_what_was_scanned_is_not_used(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.zarr", PIXELS)
    for file in chunk_of(path, 1, 1, 1):
        file.unlink()
    with Slide(path) as slide:
        assert "smaller copy of 210 x 150 px lacks chunks of what was scanned" in slide.warnings[0]
        assert np.array_equal(
            slide.read(0, 0, 105, 75, 2.0), Slide(write_image(tmp_path / "b", PIXELS, by=(1,))).read(0, 0, 105, 75, 2.0)
        )


def test_a_level_that_leaves_out_what_no_level_has_is_used(tmp_path: Path) -> None:
    pixels = np.maximum(PIXELS, 1)
    pixels[128:256, 128:256] = 0
    with Slide(write_image(tmp_path / "a.zarr", pixels)) as slide:
        assert len(slide.describe()["levels"]) == 2
        assert [("of the 35 chunks" in w) for w in slide.warnings] == [True]


def test_a_store_without_chunks(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.zarr", PIXELS)
    shutil.rmtree(path / "0" / "c")
    with pytest.raises(SlideError, match="none of the chunks of its finest level"):
        Slide(path)


def test_a_lost_finest_level_is_not_made_up_for_by_a_coarser_one(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.zarr", PIXELS)
    shutil.rmtree(path / "0")
    with pytest.raises(SlideError, match=r"level 0 cannot be opened .* is the store whole\?"):
        Slide(path)


def test_a_chunk_that_was_cut_short_is_an_error_of_its_place_only(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.zarr", PIXELS, by=(1,))
    for file in chunk_of(path, 0, 0, 0):
        file.write_bytes(file.read_bytes()[:9])
    with Slide(path) as slide:
        with pytest.raises(SlideError, match=r"level 0 at x=0, y=0 cannot be decoded"):
            slide.read(0, 0, 50, 50, 0.5)
        # What is read at once are 512 px: of a slide as small as this one, all.
        assert slide.size == (420, 300)


def test_the_fingerprint_knows_the_pixels_and_no_labels(tmp_path: Path) -> None:
    one, copy = write_image(tmp_path / "a.zarr", PIXELS), tmp_path / "other.zarr"
    shutil.copytree(one, copy)
    with Slide(one) as slide, Slide(copy) as same:
        assert slide.fingerprint == same.fingerprint
        slide.check_unchanged()
    labels = write_group(copy / "labels", {"labels": ["cells"]})
    write_level(labels, "cells", np.zeros((30, 42), np.uint8), (30, 42))
    with Slide(copy) as labelled, Slide(one) as slide:
        assert labelled.fingerprint == slide.fingerprint
    changed = chunk_of(copy, 0, 4, 6)[0]
    with Slide(copy) as slide:
        before = slide.fingerprint
        changed.write_bytes(bytes(reversed(changed.read_bytes())))
        with pytest.raises(SlideError, match="was changed while it was read"):
            slide.check_unchanged()
    with Slide(copy) as slide:
        assert slide.fingerprint != before


@pytest.mark.parametrize(
    ("channels", "order"),
    [
        ([{"label": n} for n in ("Red", "Green", "Blue")], (0, 1, 2)),
        ([{"label": n} for n in ("B", "G", "R")], (2, 1, 0)),
        ([{"label": f"Channel {i}", "color": c} for i, c in enumerate(("FF0000", "00FF00", "0000FF"))], (0, 1, 2)),
        ([{"color": c} for c in ("0000FF", "00FF00", "FF0000")], (2, 1, 0)),
        ([{}], (0, 1, 2)),
    ],
)
def test_the_order_of_the_colours(tmp_path: Path, channels: list[dict[str, str]], order: tuple[int, ...]) -> None:
    path = write_image(tmp_path / "a.zarr", PIXELS, attributes={"omero": {"channels": channels}})
    with Slide(path) as slide:
        assert np.array_equal(whole(slide), PIXELS[..., list(order)])


def test_a_run_gives_the_same_as_on_a_tiff_without_loss(tmp_path: Path, section: PaintedSection) -> None:
    tiff = write_slide(tmp_path / "t.tif", section.pixels, section.mpp, downsamples=(1,), compression="deflate")
    found = [wsi_idc.segment(tiff, tmp_path / "out" / "t", model="idc-patch")]
    for version in ("0.4", "0.5"):
        store = write_image(tmp_path / f"{version}.zarr", section.pixels, section.mpp, by=(1,), version=version)
        found.append(wsi_idc.segment(store, tmp_path / "out" / version, model="idc-patch"))
    heatmaps = [read_heatmap(one.heatmap)[0] for one in found]
    assert all(np.array_equal(heatmaps[0], other, equal_nan=True) for other in heatmaps[1:])
    numbers = [{k: one.summary[k] for k in ("tissue_mm2", "idc_mm2", "foci")} for one in found]
    assert numbers[0] == numbers[1] == numbers[2]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({}, False),
        ({"inverted": False, "window": {"start": 0, "end": 255, "min": 0, "max": 255}}, False),
        ({"window": {"start": 12.0, "end": 240.0}}, False),
        ({"inverted": True}, True),
        ({"window": {"start": 0, "end": 127}}, True),
        ({"window": {"start": None, "end": "x"}}, False),
    ],
)
def test_settings_that_show_another_picture_are_told(tmp_path: Path, setting: dict[str, Any], told: bool) -> None:
    channels = [{"label": name} | setting for name in ("red", "green", "blue")]
    path = write_image(tmp_path / "a.zarr", PIXELS, attributes={"omero": {"channels": channels}})
    with Slide(path) as slide:
        assert any("`omero`" in w for w in slide.warnings) == told
