"""From bytes to documents: encodings, packings, and files that are made to harm."""

import gzip
import io
import json
import os
import zipfile
from pathlib import Path

import pytest

from wsi_idc.annotations.read import read_annotations
from wsi_idc.errors import DataError

from drawn import SQUARE, areas, feature, imagescope, layer, region, written


def zipped(content, method=zipfile.ZIP_DEFLATED):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        archive.writestr("a.geojson", content)
    return packed.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_json_of_every_unicode_encoding(tmp_path, encoding):
    text = json.dumps(feature(classification="Läsion"), ensure_ascii=False)
    (annotation,) = read_annotations(written(tmp_path / "a.json", text.encode(encoding))).annotations
    assert annotation.classification == "Läsion"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
@pytest.mark.parametrize("stated", ["utf-8", "utf-16", None, "iso-8859-1"])
def test_xml_is_what_it_is_and_not_what_it_states(tmp_path, encoding, stated):
    if encoding == "latin-1" and stated != "iso-8859-1":
        pytest.skip("without a word of it an 8-bit encoding cannot be told")
    if encoding == "utf-8" and stated == "iso-8859-1":
        pytest.skip("characters of both encodings")
    text = imagescope(tmp_path, layer(region(SQUARE[:-1]), name="Läsion")).read_text(encoding="utf-8")
    head = "<?xml version='1.0'?>" if stated is None else f'<?xml version="1.0" encoding="{stated}"?>\n'
    found = read_annotations(written(tmp_path / "b.xml", (head + text).encode(encoding)))
    assert [a.classification for a in found.annotations] == ["Läsion"]


def test_namespaces_are_of_no_account(tmp_path):
    text = imagescope(tmp_path, layer(region(SQUARE[:-1]))).read_text(encoding="utf-8")
    named = text.replace("<Annotations", '<Annotations xmlns="http://example.org/a"')
    assert areas(read_annotations(written(tmp_path / "b.xml", named))) == [10000]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (gzip.compress(b" " * (1 << 26)), "unpacks to more than 3"),
        (zipped(b" " * (1 << 26)), "unpacks to more than 3"),
        (gzip.compress(b"[" + b"[]," * 10_000_000 + b"[]]"), "holds 20,000,002 values"),
        (b"[" + b"{}," * 3_000_000 + b"{}]", "holds 6,000,002 values"),
        (gzip.compress(b"[]")[:-4], "a damaged gzip"),
        (zipped(b"[]")[:-10], "a damaged zip"),
        (b"[" * 3000 + b"]" * 3000, "nested too deeply"),
        (b'{"type": "Feature", "properties": {"childObjects": [' * 100_000, "nested too deeply"),
        (b'{"a":' * 400_000, "nested too deeply"),
        (b"<Annotations>" + b"<a>" * 100_000, "not well-formed XML"),
        (b"<a>" * 100_000, "XML of another kind, <a>"),
        (b"[1" + b"0" * 5000 + b"]", "is neither JSON nor XML"),
        (b"\xff\xfe{\x00\x00\xd8\x00\xd8", "is not UTF-16-LE"),
        (b"\x80\x81\x82\x83\x84", "is neither JSON nor XML"),
    ],
    ids=[
        "gzip",
        "zip",
        "empty lists",
        "empty objects",
        "cut gzip",
        "cut zip",
        "lists",
        "children",
        "objects",
        "tags",
        "other tags",
        "digits",
        "surrogates",
        "bytes",
    ],
)
def test_what_is_made_to_harm_is_one_line(tmp_path, content, reason):
    with pytest.raises(DataError, match=r"a\.json: ") as caught:
        read_annotations(written(tmp_path / "a.json", content))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_entities_do_not_multiply(tmp_path):
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    text = f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY e0 "0123456789">{entities}]><Annotations>&e11;</Annotations>'
    with pytest.raises(DataError, match="XML with a DOCTYPE"):
        read_annotations(written(tmp_path / "a.xml", text))


def test_encrypted_zips_are_named_so(tmp_path):
    content = bytearray(zipped(b"[]"))
    # The first bit of the flags, in the header of the file and in the directory of the archive.
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(DataError, match="an encrypted zip; unpack it first"):
        read_annotations(written(tmp_path / "a.xml", bytes(content)))


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo.json")
    for path in (tmp_path / "fifo.json", Path("/dev/zero")):
        with pytest.raises(DataError, match="is a pipe, a socket or a device"):
            read_annotations(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zips_of_unusual_methods_are_not_unpacked(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("a.geojson", "[]")
    with pytest.raises(DataError, match="a zip packed in an unusual way; unpack it first"):
        read_annotations(tmp_path / "a.zip")
