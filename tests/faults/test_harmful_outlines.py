"""Outlines that were made to harm: each costs a moment, and is named."""

import json
import time

import numpy as np
import pytest

from wsi_idc.annotations.read import read_annotations
from wsi_idc.errors import DataError

# Of processor time: machines that test are busy.
LIMIT_S = 6.0
RANDOM = np.random.default_rng(0)


def tangle(corners):
    return RANDOM.integers(0, 50_000, (corners, 2)).tolist()


def comb(teeth, swapped=False):
    """A comb of long thin teeth; one that lies across another crosses each of its teeth."""
    points = [p for i in range(teeth) for p in ((2 * i, 0), (2 * i, 6000), (2 * i + 1, 6000), (2 * i + 1, 0))]
    points += [(2 * teeth, -1), (0, -1)]
    return [(y, x) for x, y in points] if swapped else points


def features(*geometries):
    return json.dumps([{"type": "Feature", "geometry": g, "properties": {}} for g in geometries])


def polygon(*rings):
    return {"type": "Polygon", "coordinates": rings}


SQUARE = [(0, 0), (50_000, 0), (50_000, 50_000), (0, 50_000)]
ASAP = "<ASAP_Annotations>{}<Annotations>{}</Annotations></ASAP_Annotations>"
CORNERS = "".join(f'<Coordinate Order="{i}" X="{x}" Y="{i}"/>' for i, x in enumerate([0, 999_999] * 30))
GROUPS = "".join(f'<Group Name="g{i}" PartOfGroup="g{i + 1}"/>' for i in range(50_000))
ELLIPSE = {"type": "ellipse", "center": [0, 0, 0], "width": 1.9e6, "height": 1.9e6}
HARMFUL = {
    "a tangle of 200,000 corners": (lambda: features(polygon(tangle(199_999))), "crosses itself everywhere"),
    "a tangle as a hole": (lambda: features(polygon(SQUARE, tangle(300_000))), "crosses itself everywhere"),
    "100 tangles": (lambda: features(*[polygon(tangle(2000)) for _ in range(100)]), "crosses itself"),
    "1000 knots": (lambda: features(*[polygon(tangle(130)) for _ in range(1000)]), None),
    "combs across each other": (
        lambda: features({"type": "MultiPolygon", "coordinates": [[comb(3000)], [comb(3000, swapped=True)]]}),
        "parts that cross each other",
    ),
    "a comb as hole of another": (lambda: features(polygon(comb(3000), comb(3000, True))), "crosses itself"),
    "100,000 large ellipses": (lambda: json.dumps({"elements": [ELLIPSE] * 100_000}), "curves that would have"),
    "an ellipse beyond all slides": (lambda: json.dumps({"elements": [ELLIPSE | {"width": 1e12}]}), "farther out"),
    "splines": (
        lambda: ASAP.format("", f'<Annotation Type="Spline"><Coordinates>{CORNERS}</Coordinates></Annotation>' * 500),
        "a spline that would have|curves that would have",
    ),
    "groups within groups": (
        lambda: ASAP.format(
            f"<AnnotationGroups>{GROUPS}</AnnotationGroups>", '<Annotation Type="Polygon" PartOfGroup="g0"/>' * 10
        ),
        "a group within more than",
    ),
}


@pytest.mark.parametrize("name", HARMFUL)
def test_what_is_drawn_to_harm_costs_a_moment(tmp_path, name):
    make, reason = HARMFUL[name]
    path = tmp_path / "a.json"
    path.write_text(make())
    begun = time.process_time()
    if reason is None:
        # What can be mended of it is; the rest is left out by name.
        found = read_annotations(path)
        assert found.annotations and found.left_out and any("too often to be mended" in note for note in found.notes)
    else:
        with pytest.raises(DataError, match=reason):
            read_annotations(path)
    assert time.process_time() - begun < LIMIT_S
