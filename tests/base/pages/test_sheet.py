import pytest

from wsi_idc.base.pages.sheet import LEGEND, Panel, ThreePanels


def test_a_tall_area_has_its_panels_in_a_row():
    """20 x 40 mm at 860 px: 21.5 px/mm, 430 wide; 24 px of gaps, 64 above, 40 + 24 below, the legend under all."""
    layout = ThreePanels.of(20.0, 40.0)
    assert layout.panel == Panel(20.0, (430, 860), 21.5)
    assert [layout.box(n) for n in (0, 1, 2)] == [(24, 64, 454, 924), (478, 64, 908, 924), (932, 64, 1362, 924)]
    assert layout.legend == (24, 64 + 924)
    assert layout.size == (24 + 3 * 454, 64 + 924 + LEGEND[1])


def test_a_wide_area_has_two_above_one_and_the_legend_beside_it():
    layout = ThreePanels.of(40.0, 20.0)
    assert layout.panel == Panel(40.0, (900, 450), 22.5)
    assert [layout.corner(n) for n in (0, 1, 2)] == [(24, 64), (948, 64), (24, 64 + 514)]
    assert layout.legend == (948, 64 + 514)
    assert layout.size == (24 + 2 * 924, 64 + 2 * 514)


@pytest.mark.parametrize(("width", "height"), [(0.001, 500.0), (500.0, 0.001), (0.3, 0.3), (0.24, 0.3)])
def test_nothing_overlaps_nor_leaves_the_sheet(width, height):
    layout = ThreePanels.of(width, height)
    left, top = layout.legend
    boxes = [*(layout.box(n) for n in range(3)), (left, top, left + LEGEND[0], top + LEGEND[1])]
    assert min(layout.panel.size) >= 1
    for n, one in enumerate(boxes):
        assert min(one[:2]) >= 0 and one[2] <= layout.size[0] and one[3] <= layout.size[1]
        for other in boxes[n + 1 :]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
