"""Every rule of what QuPath's GeoJSON import accepts (read from the sources of QuPath 0.6 to 0.8)."""

import json
import uuid

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from wsi_idc.annotations.formats.qupath import to_geojson
from wsi_idc.base.grid import Grid
from wsi_idc.regions.delineate import delineate
from wsi_idc.regions.interpolate import fine_grid
from wsi_idc.regions.outlining import Outlining

heatmaps = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.floats(0, 1))


def delineated(heatmap, mpp=0.4990, smooth=0.0, bands=()):
    rows, cols = heatmap.shape
    grid = Grid((int(cols * 200 / mpp), int(rows * 200 / mpp)), (mpp, mpp), 50, 4.0)
    tissue = np.ones(fine_grid(grid).shape, bool)
    return delineate(heatmap, grid, tissue, Outlining(0.5, smooth_um=smooth, bands=bands), "slide and model")


def regions_of(heatmap, mpp=0.4990, smooth=0.0):
    return delineated(heatmap, mpp, smooth).regions


def check_rules(text):
    document = json.loads(text)
    assert document["type"] == "FeatureCollection"
    seen = set()
    for feature in document["features"]:
        assert feature["type"] == "Feature"
        assert set(feature) == {"type", "id", "geometry", "properties"}, "all else belongs into properties"
        assert str(uuid.UUID(feature["id"])) == feature["id"]
        assert uuid.UUID(feature["id"]).version == 5
        assert feature["id"] not in seen
        seen.add(feature["id"])

        properties = feature["properties"]
        assert properties["objectType"] == "annotation"
        assert isinstance(properties["name"], str)
        assert isinstance(properties["isLocked"], bool)
        assert properties["classification"]["name"].startswith("IDC")
        assert ":" not in properties["classification"]["name"]
        colour = properties["classification"]["color"]
        assert len(colour) == 3
        assert all(isinstance(v, int) and 0 <= v <= 255 for v in colour)
        for name, value in properties["measurements"].items():
            assert isinstance(name, str)
            assert isinstance(value, int | float)
            assert np.isfinite(value)

        geometry = feature["geometry"]
        assert geometry["type"] in ("Polygon", "MultiPolygon"), "no GeometryCollection"
        shape = shapely.geometry.shape(geometry)
        assert shape.is_valid
        # QuPath keeps float32 on a grid of 0.01 px: whole numbers below 2**24 are exact in both.
        snapped = shapely.set_precision(shape, 0.01)
        assert snapped.is_valid
        assert snapped.equals(shape)
        polygons = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
        for ring in (ring for polygon in polygons for ring in polygon):
            assert ring[0] == ring[-1], "closed"
            assert len(ring) >= 4
            for x, y in ring:
                assert type(x) is int
                assert type(y) is int
                assert 0 <= x < 2**24
                assert 0 <= y < 2**24
    assert "null" not in text, "a key without a value is left out"
    assert "NaN" not in text


@settings(max_examples=150)
@given(heatmaps, st.sampled_from([0.2277, 0.499, 4.0]), st.sampled_from([0.0, 5.0, 150.0]), st.booleans())
def test_every_rule_holds(heatmap, mpp, smooth, banded):
    found = delineated(heatmap, mpp, smooth, (0.3, 0.5, 0.7) if banded else ())
    check_rules(to_geojson(found.regions, found.bands))


def test_no_region_is_an_empty_collection():
    assert json.loads(to_geojson([])) == {"type": "FeatureCollection", "features": []}


def test_same_regions_same_bytes():
    heatmap = np.random.default_rng(0).random((30, 30))
    assert to_geojson(regions_of(heatmap)) == to_geojson(regions_of(heatmap.copy()))


def test_measurements_are_those_of_the_region():
    (region,) = regions_of(np.array([[0.9, 0.7]]), mpp=4.0)
    (feature,) = json.loads(to_geojson([region]))["features"]
    values = feature["properties"]["measurements"]
    # All of two patches: from 0.9, between the centres 0.9 - 0.2 t, to 0.7; the middle of it is 0.8.
    assert values == {
        "Area mm2": 0.08,
        "Perimeter mm": pytest.approx(1.2),
        "Largest diameter mm": pytest.approx(np.hypot(0.4, 0.2), abs=1e-6),
        "Mean probability": pytest.approx(0.8, abs=1e-6),
        "Max probability": pytest.approx(0.9),
        "95th percentile probability": pytest.approx(0.9),
        # 0.7 in 32 bits lies just below 0.7: the five columns from the centre of the second patch on, of 18.
        "Uncertain share": pytest.approx(5 / 18, abs=1e-6),
        "Patches": 2,
        "Centroid x um": 200.0,
        "Centroid y um": 100.0,
        "Touches tissue edge": 0,
        "Touches slide edge": 1,
    }
    assert shapely.geometry.shape(feature["geometry"]).equals(shapely.box(0, 0, 100, 50))


def test_geopandas_and_pyogrio_read_it(tmp_path):
    regions = regions_of(np.random.default_rng(1).random((12, 12)))
    path = tmp_path / "regions.geojson"
    path.write_text(to_geojson(regions), encoding="utf-8")
    frame = geopandas.read_file(path, engine="pyogrio")
    assert len(frame) == len(regions) == pyogrio.read_info(path)["features"]
    assert frame.geometry.is_valid.all()
    assert shapely.area(frame.geometry.values).tolist() == [r.geometry.area for r in regions]
    assert frame["name"].tolist() == [f"IDC {n}" for n in range(1, len(regions) + 1)]
