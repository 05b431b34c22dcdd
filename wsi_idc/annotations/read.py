"""Annotation files of any program to annotations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from wsi_idc.annotations.annotation import AnnotationFile
from wsi_idc.annotations.content import read_document
from wsi_idc.annotations.finish import finish
from wsi_idc.annotations.formats.qupath import ORIGIN
from wsi_idc.annotations.registry import FORMATS, NAMES, ROOTS, SUFFIXES
from wsi_idc.annotations.source import Frame, Source, reason
from wsi_idc.errors import DataError, WsiIdcError


def read_annotations(
    path: Path, classes: Mapping[str, str] | None = None, slide: Path | Frame | None = None
) -> AnnotationFile:
    """Read annotations of any of `registry.FORMATS`, plain, gzipped or zipped, or the regions of a run's folder.

    The format is told from the content. `classes` gives classes of the file other names; what an empty name is given is
    left out. `slide`, or where it lies, is needed by formats that do not count pixels from its upper left corner.
    Outlines that cross themselves are mended, holes drawn as objects of their own are cut out of what they lie on, and
    the notes of the result name each that was mended or left out. Raises DataError where the file, or all in it, cannot
    be read, or where it needs the slide and none is given; SlideError for the slide.
    """
    file = path / "regions.geojson" if path.is_dir() else path
    if path.is_dir() and not file.exists():
        raise DataError(f"{path}: a folder without regions.geojson; give an annotation file or the folder of a run")
    source = Source(file, dict(classes or {}), slide)
    try:
        document = read_document(file, SUFFIXES, ROOTS)
        form = next((f for f in FORMATS if f.reads(document)), None)
        if form is None:
            kind = f"XML of another kind, <{document.tag}>" if hasattr(document, "tag") else "JSON of another kind"
            raise ValueError(kind)
        return replace(finish(form.parse(document, source), source.classes), origin=_origin(document))
    except WsiIdcError:
        # What is wrong with the slide is said already, and is an OSError too.
        raise
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise DataError(f"{file}: {reason(error)}; give one of {NAMES}") from error
    except MemoryError as error:
        raise DataError(f"{file}: takes more memory than there is; export the outlines alone") from error


def _origin(document: Any) -> dict[str, Any]:
    """Return what a document says of what it was made of; nothing where that is not what this tool writes."""
    said = document.get(ORIGIN) if isinstance(document, dict) else None
    return said if isinstance(said, dict) and isinstance(said.get("slide_fingerprint"), str) else {}
