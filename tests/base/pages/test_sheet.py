import pytest

from wsi_idc.base.pages.sheet import Panel, TwoPanels


def test_a_tall_area_has_its_panels_side_by_side():
    """20 x 40 mm at 740 px: 18.5 px/mm, 370 wide; 24 px of gaps, 110 for the bar, 64 above and 40 + 24 below."""
    layout = TwoPanels.of(20.0, 40.0)
    assert layout.panel == Panel(20.0, (370, 740), 18.5)
    assert [layout.box(n) for n in (0, 1)] == [(24, 64, 394, 804), (418, 64, 788, 804)]
    assert layout.size == (2 * 394 + 110 + 24, 64 + 804)
    assert layout.bar == (812, 64)


def test_a_wide_area_has_them_one_above_the_other():
    layout = TwoPanels.of(40.0, 20.0)
    assert layout.panel == Panel(40.0, (1240, 620), 31.0)
    assert [layout.corner(n) for n in (0, 1)] == [(24, 64), (24, 64 + 684)]
    assert layout.size == (1264 + 110 + 24, 64 + 2 * 684)
    assert layout.bar == (1288, 64)


@pytest.mark.parametrize(("width", "height"), [(0.001, 500.0), (500.0, 0.001), (0.3, 0.3)])
def test_panels_never_overlap_nor_leave_the_sheet(width, height):
    layout = TwoPanels.of(width, height)
    first, second = layout.box(0), layout.box(1)
    assert min(layout.panel.size) >= 1
    assert first[2] < second[0] or first[3] < second[1]
    assert second[2] < layout.size[0] and second[3] < layout.size[1]
