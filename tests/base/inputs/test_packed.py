import struct
import zipfile

import pytest

from wsi_idc.base.inputs.packed import check_zip


def packed(path, names, method=zipfile.ZIP_DEFLATED, size=100_000):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name in names:
            archive.writestr(name, bytes(size))
    return path


def test_archives_within_their_bound(tmp_path):
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        check_zip(packed(tmp_path / "a.zip", "ab", method), 200_000)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: packed(p, "abc"), "unpacks to more"),
        (lambda p: packed(p, [str(i) for i in range(10_001)], size=0), "unpacks to more"),
        (lambda p: packed(p, "a", zipfile.ZIP_LZMA), "packed in a way"),
        (lambda p: p.write_bytes(b"PK\x03\x04" + bytes(100)), "no zip"),
        (lambda p: p.write_bytes(packed(p, "a").read_bytes()[:-30]), "no zip"),
    ],
)
def test_what_is_refused(tmp_path, make, reason):
    make(tmp_path / "a.zip")
    with pytest.raises(ValueError, match=reason):
        check_zip(tmp_path / "a.zip", 200_000)


def test_an_archive_that_lies_of_its_size(tmp_path):
    path = packed(tmp_path / "a.zip", "a", size=50_000_000)
    content = bytearray(path.read_bytes())
    at = content.find(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", 100)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"says that 'a' has 100 bytes"):
        check_zip(path, 200_000)
