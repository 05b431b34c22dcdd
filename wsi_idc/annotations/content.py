"""From a file to what it holds: unpacked within bounds, in whatever encoding, as XML, JSON or text."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import re
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from wsi_idc.base.inputs.bounded import read_bytes
from wsi_idc.base.inputs.documents import MOST_WEIGHT, check_weight

# No outlines take more; what is larger is another file, or a small one that was packed to harm.
LARGEST = 1 << 29
# Outlines are packed to a twentieth at most; from this size on what is packed far more tightly is no outlines.
_MOST_RATIO, _FREE = 50, 1 << 25
_PIECE = 1 << 20
# Bytes that outlines may take once they are parsed, in all and for each character: those of corners of two digits.
_HEAVIEST, _DENSEST = 2 << 30, 24
# Characters in which XML says what it is: the name of the root, behind declarations and comments, without its prefix.
_HEAD = 1 << 12
_ROOT = re.compile(r"(?:\s|<\?.*?\?>|<!--.*?-->)*<(?:[^\s<>/:!?]+:)?([^\s<>/:!?]+)", re.DOTALL)
# Longest marks first: that of UTF-16 begins that of UTF-32.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

Document = Element | dict[str, Any] | list[Any] | str


def read_document(path: Path, suffixes: tuple[str, ...], roots: Collection[str] = ()) -> Document:
    """Read a file, plain, gzipped or the one in a zip that ends in one of `suffixes`, as what it holds.

    That is the root of XML, whose names have lost their namespaces, the object or list of JSON, or text where it is
    neither but geometry as well-known text. With `roots`, XML of another one is refused. UTF-8, -16 and -32 are told
    apart with and without byte order marks. Raises OSError, or ValueError where it is none of these or too large.
    """
    return _parsed(_unpacked(read_bytes(path, LARGEST), suffixes), roots)


def _unpacked(content: bytes, suffixes: tuple[str, ...]) -> bytes:
    """Return what a gzipped file, or a zipped one of a single annotation file, holds; other content as it is."""
    if content.startswith(b"\x1f\x8b"):
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
                return _bounded(stream, len(content))
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"a damaged gzip ({error})") from error
    if not content.startswith(b"PK\x03\x04"):
        return content
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            # Archives made on a Mac have a folder of shadows of their files.
            listed = [info for info in archive.infolist() if "__MAC" not in info.filename]
            found = [info for info in listed if info.filename.lower().endswith(suffixes)]
            if len(found) != 1:
                raise ValueError(f"a zip with {len(found)} annotation files in place of one")
            if found[0].flag_bits & 1:
                raise ValueError("an encrypted zip; unpack it first")
            if found[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # What packs more tightly is unpacked all at once.
                raise ValueError("a zip packed in an unusual way; unpack it first")
            with archive.open(found[0]) as stream:
                return _bounded(stream, max(found[0].compress_size, 1))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"a damaged zip ({error})") from error


def _bounded(stream: IO[bytes] | gzip.GzipFile, packed: int) -> bytes:
    """Read what was packed in `packed` bytes to its end; raises ValueError where that is more than outlines take."""
    pieces, size = [], 0
    for piece in _pieces(stream):
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST or (size > _FREE and size > _MOST_RATIO * packed):
            raise ValueError(f"unpacks to more than {size >> 20} MiB from {packed >> 10} KiB; give it unpacked")
    return b"".join(pieces)


def _pieces(stream: IO[bytes] | gzip.GzipFile) -> Iterator[bytes]:
    while piece := stream.read(_PIECE):
        yield piece


def _parsed(content: bytes, roots: Collection[str]) -> Document:
    text = _text(content)
    start = (text if isinstance(text, str) else text.decode("latin-1")).lstrip()[:1]
    if start == "<":
        return _xml(text, roots)
    if isinstance(text, bytes):
        raise ValueError("is neither JSON nor XML (its characters are not UTF-8 or UTF-16)")
    check_weight(text, max(MOST_WEIGHT, min(_HEAVIEST, _DENSEST * len(text))))
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise ValueError("JSON nested too deeply to be annotations") from error
    except ValueError as error:
        if re.match(r"\s*(SRID=\d+;)?(MULTI)?(POLYGON|LINESTRING|POINT)\b", text, re.IGNORECASE):
            return text
        raise ValueError(f"is neither JSON nor XML ({error})") from error
    if not isinstance(document, dict | list):
        raise ValueError("is not GeoJSON: neither a feature, nor features, nor a geometry")
    return document


def _text(content: bytes) -> str | bytes:
    """Return content as text; as bytes where it may be XML of an 8-bit encoding that it states itself."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return _decoded(content.removeprefix(mark), encoding)
    # Without a mark the first character, which is ASCII in all formats, tells by its zeros.
    head = content[:4]
    if b"\0" in head and len(head) == 4:
        wide = head.count(0) == 3
        return _decoded(content, ("utf-32" if wide else "utf-16") + ("-be" if head[0] == 0 else "-le"))
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content


def _decoded(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"is not {encoding.upper()}, as it begins ({error.reason})") from error


def _xml(text: str | bytes, roots: Collection[str]) -> Element:
    if "<!DOCTYPE" in text if isinstance(text, str) else b"<!DOCTYPE" in text:
        # Only what is to harm defines entities.
        raise ValueError("XML with a DOCTYPE, which no annotations have")
    head = text[:_HEAD] if isinstance(text, str) else text[:_HEAD].decode("latin-1")
    if roots and (found := _ROOT.match(head)) and found[1] not in roots:
        # Before it is parsed, which takes ten times its size.
        raise ValueError(f"XML of another kind, <{found[1][:80]}>")
    if isinstance(text, str):
        # Programs that write UTF-8 often state UTF-16, and the other way round; what it is has been found out.
        text = re.sub(r"^\s*<\?xml[^>]*\?>", "", text, count=1)
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise ValueError(f"is not well-formed XML ({error})") from error
    for element in root.iter():
        if isinstance(element.tag, str) and element.tag.startswith("{"):
            element.tag = element.tag.rpartition("}")[2]
    return root
