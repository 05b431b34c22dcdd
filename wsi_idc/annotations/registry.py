"""The formats of annotations that are read: a line here and a module for each."""

from __future__ import annotations

from wsi_idc.annotations.formats import asap, coco, cytomine, halo, histomics, imagescope, ndpa, qupath_in
from wsi_idc.annotations.source import Format

# In this order: the first that knows a document reads it.
FORMATS: tuple[Format, ...] = (
    asap.FORMAT,
    halo.FORMAT,
    imagescope.FORMAT,
    ndpa.FORMAT,
    coco.FORMAT,
    histomics.FORMAT,
    cytomine.FORMAT,
    qupath_in.FORMAT,
)
SUFFIXES = (".geojson", ".json", ".xml", ".annotations", ".ndpa", ".wkt", ".txt")
# The roots of those that are XML.
ROOTS = ("ASAP_Annotations", "Annotations", "annotations")
NAMES = ", ".join(f.name for f in FORMATS)
