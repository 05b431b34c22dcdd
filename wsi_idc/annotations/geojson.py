"""The features of a GeoJSON document, whatever the form of its root, with the children that QuPath gives them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# Where QuPath's exporters, of any version, and scripts put the children of an object.
_CHILDREN = ("childObjects", "children")


def features_of(document: Any) -> list[Any]:
    """Return the features of a GeoJSON document; raises ValueError where it is none."""
    if isinstance(document, list):
        return document
    kind = document.get("type") if isinstance(document, dict) else None
    if kind == "FeatureCollection":
        features = document.get("features")
        if not isinstance(features, list):
            raise ValueError("is not GeoJSON: a FeatureCollection without a list of features")
        return features
    if kind == "Feature":
        return [document]
    if kind is not None and ("coordinates" in document or "geometries" in document):
        return [{"geometry": document}]
    raise ValueError("is not GeoJSON: neither a feature, nor features, nor a geometry")


def walk(features: list[Any]) -> Iterator[Any]:
    """Give features, and behind each its children."""
    # Not by recursion: nothing limits how deep children may lie.
    waiting = features[::-1]
    while waiting:
        feature = waiting.pop()
        yield feature
        waiting += _children(feature)[::-1]


def _children(feature: Any) -> list[Any]:
    """Return the children of an object, in its properties or beside them, as a list or a collection."""
    if not isinstance(feature, dict):
        return []
    properties = feature.get("properties")
    holders = [feature, properties] if isinstance(properties, dict) else [feature]
    held = [holder[key] for holder in holders for key in _CHILDREN if holder.get(key)]
    lists = [one.get("features") if isinstance(one, dict) else one for one in held]
    return [child for one in lists if isinstance(one, list) for child in one]
