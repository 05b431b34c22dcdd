"""Chunks of Zarr that unpack to far more than their shape: refused for what it costs to look at them."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr

from wsi_idc.errors import SlideError
from wsi_idc.slides.ngff.unpacked import check_unpacked
from wsi_idc.slides.slide import Slide

from stores import multiscale, write_group, write_image

SIDE, LARGE = 64, 300_000_000
PIXELS = np.random.default_rng(3).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
PACKED = {
    "blosc": lambda data: numcodecs.Blosc("zstd").encode(data),
    "lz4": lambda data: numcodecs.LZ4().encode(data),
    "zstd": lambda data: numcodecs.Zstd().encode(data),
    "zlib": lambda data: zlib.compress(data, 1),
    "gzip": lambda data: gzip.compress(data, 1),
    "bz2": lambda data: bz2.compress(data, 1),
    "lzma": lambda data: lzma.compress(data, preset=0),
}
OF_V2 = {name: {"id": name} for name in PACKED}
OF_V3 = {
    "blosc": {"name": "blosc", "configuration": {"cname": "zstd", "clevel": 1, "shuffle": "noshuffle", "blocksize": 0}},
    "zstd": {"name": "zstd", "configuration": {"level": 0, "checksum": False}},
    "gzip": {"name": "gzip", "configuration": {"level": 1}},
    **{name: {"name": f"numcodecs.{name}", "configuration": {}} for name in ("lz4", "zlib", "bz2", "lzma")},
}
# Reads a slide, and says what came of it and how much memory it took beyond that of its start, in MiB.
READ = """
import resource, sys, time
import zarr, imagecodecs, wsi_idc.slides.slide, wsi_idc.slides.ngff.reader
from wsi_idc.errors import SlideError
from wsi_idc.slides.slide import Slide

begun, held = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    with Slide(sys.argv[1]) as slide:
        slide.read(0, 0, 64, 64, 0.5)
except SlideError as error:
    print(str(error)[-150:])
print(time.monotonic() - begun, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held) >> 10)
"""


def written(folder: Path, version: int, codec: str) -> Path:
    """Write a slide of one level in one chunk, packed by a codec."""
    write_image(folder, PIXELS, version="0.4" if version == 2 else "0.5", axes="yxc", by=(1,), chunk=SIDE)
    level = folder / "0"
    for file in (p for p in level.rglob("*") if p.is_file() and p.name not in (".zarray", "zarr.json", ".zattrs")):
        file.unlink()
    description = level / (".zarray" if version == 2 else "zarr.json")
    facts = json.loads(description.read_text())
    if version == 2:
        facts |= {"compressor": OF_V2[codec], "chunks": [SIDE, SIDE, 3], "filters": None}
    else:
        facts["codecs"] = [{"name": "bytes"}, OF_V3[codec]]
        facts["chunk_grid"]["configuration"]["chunk_shape"] = [SIDE, SIDE, 3]
    description.write_text(json.dumps(facts))
    chunk(folder, version).parent.mkdir(parents=True, exist_ok=True)
    chunk(folder, version).write_bytes(PACKED[codec](PIXELS.tobytes()))
    return folder


def bare(folder: Path, version: int) -> Path:
    """Have the one chunk hold its pixels as they are."""
    description = folder / "0" / (".zarray" if version == 2 else "zarr.json")
    facts = json.loads(description.read_text())
    description.write_text(
        json.dumps(facts | ({"compressor": None} if version == 2 else {"codecs": [{"name": "bytes"}]}))
    )
    chunk(folder, version).write_bytes(PIXELS.tobytes())
    return folder


def chunk(folder: Path, version: int) -> Path:
    """Return the path of the one chunk."""
    return folder / "0" / ("0/0/0" if version == 2 else "c/0/0/0")


@pytest.mark.parametrize("codec", PACKED)
@pytest.mark.parametrize("version", [2, 3])
def test_what_is_as_large_as_its_shape_is_read(tmp_path: Path, version: int, codec: str) -> None:
    with Slide(written(tmp_path / "a.zarr", version, codec)) as slide:
        assert np.array_equal(slide.read(0, 0, SIDE, SIDE, 0.5), PIXELS)


@pytest.fixture(scope="module")
def large() -> dict[str, bytes]:
    return {codec: pack(bytes(LARGE)) for codec, pack in PACKED.items()}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is told in kB")
@pytest.mark.parametrize("codec", PACKED)
@pytest.mark.parametrize("version", [2, 3])
def test_what_unpacks_to_more_is_refused_in_little_memory(
    tmp_path: Path, version: int, codec: str, large: dict[str, bytes]
) -> None:
    path = written(tmp_path / "a.zarr", version, codec)
    chunk(path, version).write_bytes(large[codec])
    done = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, check=True)
    said, figures = done.stdout.splitlines()
    seconds, mib = map(float, figures.split())
    # Codes that pack worse are refused by their own size.
    assert re.search(r"more than the (12,288 bytes of its shape|[\d,]+ that one of its shape takes)", said)
    assert mib < 64 and seconds < 10


@pytest.mark.skipif(sys.platform != "linux", reason="memory is told in kB")
@pytest.mark.parametrize("version", [2, 3])
def test_of_a_file_larger_than_its_chunk_nothing_is_read(tmp_path: Path, version: int) -> None:
    path = bare(written(tmp_path / "a.zarr", version, "zstd"), version)
    with Slide(path) as slide:
        assert np.array_equal(slide.read(0, 0, SIDE, SIDE, 0.5), PIXELS)
    os.truncate(chunk(path, version), 4 << 30)
    done = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, check=True)
    said, figures = done.stdout.splitlines()
    seconds, mib = map(float, figures.split())
    assert "a chunk of 4,294,967,296 bytes, more than" in said
    assert mib < 64 and seconds < 10


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name")
def test_a_pipe_in_place_of_a_chunk_is_not_waited_for(tmp_path: Path) -> None:
    path = written(tmp_path / "a.zarr", 3, "zstd")
    chunk(path, 3).unlink()
    os.mkfifo(chunk(path, 3))
    with Slide(path) as slide, pytest.raises(SlideError, match="is a pipe"):
        slide.read(0, 0, SIDE, SIDE, 0.5)


def test_an_index_of_shards_that_lies_reads_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "a.zarr"
    group = write_group(folder, {"multiscales": [multiscale("yxc", 0.5, (1,))]})
    half = SIDE // 2
    array = group.create_array(
        "0", shape=(SIDE, SIDE, 3), shards=(SIDE, SIDE, 3), chunks=(half, half, 3), dtype="u1", compressors=None
    )
    array[:] = PIXELS
    # 4 chunks: an index of as many offsets and lengths, and its checksum.
    whole, index = chunk(folder, 3).read_bytes()[:-68], np.array([[0, 2 << 30]] * 4, "<u8").tobytes()
    with chunk(folder, 3).open("wb") as stream:
        stream.write(whole)
        stream.seek(2 << 30)
        stream.write(numcodecs.CRC32C(location="end").encode(index))
    with Slide(folder) as slide, pytest.raises(SlideError, match=r"a chunk of [\d,]+ bytes, more than"):
        slide.read(0, 0, 8, 8, 0.5)


def test_a_frame_without_a_size_is_unpacked_into_so_much_room() -> None:
    stated = numcodecs.Zstd().encode(bytes(100_000))
    import imagecodecs

    for codes in (stated, imagecodecs.zstd_encode(bytes(100_000))):
        check_unpacked("zstd", codes, 100_000 + 1)
        with pytest.raises(ValueError, match="unpack"):
            check_unpacked("zstd", codes, 99_000)


@pytest.mark.parametrize("codec", ["zlib", "gzip", "bz2", "lzma"])
def test_streams_that_follow_one_another_are_counted(codec: str) -> None:
    twice = PACKED[codec](bytes(50_000)) * 2
    check_unpacked(codec, twice, 100_000)
    with pytest.raises(ValueError, match="unpacks to more than"):
        check_unpacked(codec, twice, 99_000)


@pytest.mark.parametrize("codec", PACKED)
def test_what_is_cut_or_something_else_ends(codec: str) -> None:
    codes = PACKED[codec](os.urandom(20_000))
    for damaged in (b"", b"\1", codes[: len(codes) // 2], codes[1:], bytes(range(200))):
        try:
            check_unpacked(codec, damaged, 100_000)
        except ValueError as error:
            assert str(error)


def test_codecs_whose_size_is_not_known_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.zarr", 2, "zlib")
    file = path / "0" / ".zarray"
    facts = json.loads(file.read_text())
    file.write_text(json.dumps(facts | {"filters": [{"id": "zlib", "level": 1}]}))
    with pytest.raises(SlideError, match="a filter zlib, by which chunks could grow"):
        Slide(path)


def test_chunks_within_shards_are_held_to_their_shape(tmp_path: Path) -> None:
    folder = tmp_path / "a.zarr"
    group = write_group(folder, {"multiscales": [multiscale("yxc", 0.5, (1,))]})
    # Written as of 40 times the pixels, and described as of fewer.
    made = zarr.create_array(
        tmp_path / "b.zarr", shape=(640, 640, 3), shards=(640, 640, 3), chunks=(640, 640, 3), dtype="u1"
    )
    made[:] = 7
    array = group.create_array(
        "0", shape=(SIDE, SIDE, 3), shards=(SIDE, SIDE, 3), chunks=(SIDE, SIDE, 3), dtype="u1", fill_value=0
    )
    array[:] = PIXELS
    with Slide(folder) as slide:
        assert np.array_equal(slide.read(0, 0, SIDE, SIDE, 0.5), PIXELS)
    chunk(folder, 3).write_bytes((tmp_path / "b.zarr/c/0/0/0").read_bytes())
    with Slide(folder) as slide, pytest.raises(SlideError, match="unpacks to more than the 12,288 bytes"):
        slide.read(0, 0, SIDE, SIDE, 0.5)


def test_a_description_without_bounds_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.zarr", 2, "zlib")
    file = path / "0" / ".zarray"
    file.write_text(file.read_text()[:-1] + ', "x": [' + "[]," * 4_000_000 + "[]]}")
    with pytest.raises(SlideError, match=r"holds [\d,]+ values"):
        Slide(path)
