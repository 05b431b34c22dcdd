"""What a format of annotations is, and what it may ask of the file and slide that it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsi_idc.annotations.drawn import Drawn
from wsi_idc.errors import DataError, ScaleError

# What reading one object may raise; whatever it is, it costs only that object.
_FAULTS = (ValueError, TypeError, KeyError, AttributeError, IndexError, ArithmeticError, RecursionError)
_LONGEST = 160


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the pixels of a slide lie: `size` (width, height) at level 0, and `mpp` (x, y) in um per pixel.

    `centre_nm` (x, y) is where the middle of the image lies from the middle of the glass, in nm. What the slide does
    not say is None.
    """

    size: tuple[int, int]
    mpp: tuple[float, float] | None = None
    centre_nm: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """The annotation `file`, the new names of `classes`, and the slide that it was drawn on, if that is known."""

    file: Path
    classes: Mapping[str, str] = field(default_factory=dict)
    slide: Path | Frame | None = None

    def frame(self, reason: str) -> Frame:
        """Return where the slide lies; raises DataError, which gives the `reason` why it is needed, without a slide."""
        if isinstance(self.slide, Frame):
            return self.slide
        slide = self.slide or _beside(self.file)
        if slide is None:
            raise DataError(
                f"{self.file}: {reason}; give the slide that it was drawn on: "
                f"wsi-idc convert {self.file.name} OUT.geojson --slide SLIDE"
            )
        return frame_of(slide)


def _beside(file: Path) -> Path | None:
    """Return the slide that a file is named after and lies beside, as "a.ndpi" of "a.ndpi.ndpa"."""
    return next((p for p in (file.with_suffix(""), file.with_suffix(".ndpi")) if p != file and p.is_file()), None)


def frame_of(slide: Path) -> Frame:
    """Look up where a slide lies; raises SlideError for the slide."""
    from wsi_idc.slides.slide import Slide

    try:
        with Slide(slide) as opened:
            return Frame(opened.size, (opened.mpp.x, opened.mpp.y), _centre(opened.properties))
    except ScaleError:
        # Most formats need its size alone, which is the same at any scale.
        with Slide(slide, 1.0) as opened:
            return Frame(opened.size, None, _centre(opened.properties))


def _centre(properties: Mapping[str, str]) -> tuple[float, float] | None:
    try:
        x, y = (float(properties[f"hamamatsu.{axis}OffsetFromSlideCentre"]) for axis in "XY")
    except (KeyError, ValueError):
        return None
    return x, y


@dataclass(frozen=True, slots=True)
class Format:
    """A format: its name, which documents are of it, and how the objects of one are read.

    `reads` is given the root of XML, what JSON holds, or text, and says whether it is of this format; `parse` gives its
    objects, of which one that cannot be read says so itself (`read_each`). It raises ValueError where all of the
    document is damaged, DataError where it needs the slide and there is none.
    """

    name: str
    reads: Callable[[Any], bool]
    parse: Callable[[Any, Source], Iterable[Drawn]]


def read_each(found: Iterable[tuple[str, Any]], read: Callable[[Any, str], Drawn]) -> Iterator[Drawn]:
    """Read objects one by one, `found` with what each is called; one that cannot be read becomes one that says why."""
    for where, one in found:
        try:
            yield read(one, where)
        except _FAULTS as error:
            yield Drawn(where, "object", [], fault=reason(error))


def reason(error: Exception) -> str:
    """Say in a line what is wrong, as short as fits."""
    text = " ".join(str(error).split())
    if not isinstance(error, ValueError):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
