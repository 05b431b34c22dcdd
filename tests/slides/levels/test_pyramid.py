from __future__ import annotations

import pytest

from wsi_idc.slides.levels.pyramid import Shape, downsample_of

FULL = Shape(1100, 800, (256, 256), (0.5, 0.5))


def level(width: int, height: int, mpp: float | None = None, tile: int = 256) -> Shape:
    return Shape(width, height, (tile, tile), None if mpp is None else (mpp, mpp))


@pytest.mark.parametrize(
    ("shape", "downsample"),
    [
        (level(550, 400, 1.0), 2),
        (level(550, 400), 2),
        (level(550, 400, 0.5), 2),  # the scale of level 0, copied
        (level(275, 200, 2.0), 4),
        (level(367, 267, 1.5), (1100 / 367 + 800 / 267) / 2),  # rounded up
        (level(768, 512, 1.0), 2),  # padded to whole tiles
        (level(512, 256, 2.0), 4),
        (level(256, 256, 4.0), 8),
        (level(512, 512, 1.0, 512), None),  # 550 px do not fit into 512
        (level(768, 512), None),  # padded, and nothing says to what
        (level(768, 512, 0.5), None),
        (level(550, 400, 16.0), None),  # its own scale contradicts its size
        (level(550, 300, 1.0), None),
        (level(420, 320), None),  # another shape
        (level(1100, 800, 0.5), 1),
        (level(1200, 800, 0.5), None),
    ],
)
def test_downsamples(shape: Shape, downsample: float | None) -> None:
    assert downsample_of(shape, FULL) == (None if downsample is None else pytest.approx(downsample, abs=1e-9))


def test_an_image_that_is_not_marked_and_has_the_scale_of_level_0_is_another_scan() -> None:
    assert downsample_of(level(550, 400, 0.5), FULL, marked=False) is None
    assert downsample_of(level(550, 400, 1.0), FULL, marked=False) == 2
    assert downsample_of(level(550, 400), FULL, marked=False) == 2


def test_level_0_padded_too() -> None:
    """As Philips writes DICOM: 1100 x 800 px padded to tiles of 512, then halved and padded again."""
    full = Shape(1536, 1024, (512, 512), (2.0, 2.0))
    assert downsample_of(level(1024, 512, 4.0, 512), full) == 2
    assert downsample_of(level(512, 512, 8.0, 512), full) == 4


def test_padding_of_less_than_a_percent_counts() -> None:
    """20,000 px halved are 10,000, padded 10,240 in tiles of 1024 and 10,048 in tiles of 64."""
    full = Shape(20_000, 20_000, (64, 64), (0.25, 0.25))
    assert downsample_of(Shape(10_048, 10_048, (64, 64), (0.5, 0.5)), full) == 2


def test_square_levels_padded_alike_are_not_used_where_they_state_no_scale() -> None:
    full = Shape(1100, 1100, (256, 256))
    assert downsample_of(Shape(768, 768, (256, 256)), full) is None


def test_axes_that_contradict_each_other() -> None:
    assert downsample_of(Shape(550, 400, (256, 256), (1.0, 1.5)), FULL) is None
