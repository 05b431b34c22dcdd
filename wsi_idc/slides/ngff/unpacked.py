"""Chunks of a Zarr store that unpack to more than their shape: refused before a codec makes room for them."""

from __future__ import annotations

import bz2
import lzma
import math
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import zarr
import zarr.abc.codec
import zarr.codecs

# What a shard or a checksum adds to pixels, and what is unpacked at once only to be counted, in bytes.
_MORE, _PIECE = 1 << 16, 1 << 20
# Bytes that a decoder of LZMA may take for itself: its dictionary is as large as the codes say.
_LZMA_BYTES = 1 << 27
# These give as much as they take, or a few bytes less.
_SAME = frozenset(("shuffle", "crc32", "crc32c", "adler32", "fletcher32", "jenkins_lookup3"))
_BLOSC_HEAD, _ZSTD = 16, b"\x28\xb5\x2f\xfd"


def bounded(array: Any) -> Any:
    """Return an array of Zarr whose chunks are unpacked to no more than their shape; pixels have 8 bits.

    Raises ValueError where its codecs cannot be held to that.
    """
    metadata, asynchronous = array.metadata, array.async_array
    if array.dtype.itemsize != 1:
        return array
    if metadata.zarr_format == 2:
        for codec in metadata.filters or ():
            _check_same(codec.codec_id)
        most = math.prod(metadata.chunks) + _MORE
        if metadata.compressor is not None:
            metadata = replace(metadata, compressor=_Bounded2(metadata.compressor, most))
    else:
        metadata = replace(metadata, codecs=_bounded3(metadata.codecs))
    return zarr.Array(type(asynchronous)(metadata, asynchronous.store_path))


def check_unpacked(name: str, data: bytes, most: int) -> None:
    """Raise ValueError where what a codec has packed unpacks to more than `most` bytes, or does not say to how many.

    Of what has no header with the size it is unpacked in pieces, which are only counted.
    """
    if name in _SAME:
        return
    if name not in _SIZES:
        raise ValueError(f"chunks packed by {name}, whose size cannot be told before they are unpacked")
    try:
        size = _SIZES[name](data, most)
    except (struct.error, IndexError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"a chunk is no {name}, or a damaged one ({error})") from error
    if size > most:
        raise ValueError(f"a chunk unpacks to more than the {most - _MORE:,} bytes of its shape")


def _check_same(name: str) -> None:
    if name not in _SAME:
        raise ValueError(f"a filter {name}, by which chunks could grow; convert the slide without it")


def _blosc(data: bytes, most: int) -> int:
    if len(data) < _BLOSC_HEAD:
        raise EOFError("cut short")
    return int(struct.unpack_from("<I", data, 4)[0])


def _lz4(data: bytes, most: int) -> int:
    return int(struct.unpack_from("<I", data)[0])


def _zstd(data: bytes, most: int) -> int:
    """Read the size in the header of the frame (RFC 8878, 3.1.1.1), or have the codes unpacked into that much room."""
    if data[:4] != _ZSTD:
        raise EOFError("another beginning")
    form = data[4]
    single, width = form >> 5 & 1, (0, 2, 4, 8)[form >> 6]
    width = width or single
    if width:
        at = 5 + (1 - single) + (0, 1, 2, 4)[form & 3]
        if at + width > len(data):
            raise EOFError("cut short")
        return int.from_bytes(data[at : at + width], "little") + (256 if width == 2 else 0)
    import imagecodecs

    try:
        return len(imagecodecs.zstd_decode(data, out=most))
    except imagecodecs.ZstdError as error:
        raise ValueError(f"a chunk of no stated size cannot be unpacked into that of its shape ({error})") from error


def _deflate(data: bytes, most: int) -> int:
    """Count what one or several streams of zlib or gzip unpack to."""
    return _counted(data, most, lambda: zlib.decompressobj(32 + zlib.MAX_WBITS))


def _bz2(data: bytes, most: int) -> int:
    return _counted(data, most, bz2.BZ2Decompressor)


def _lzma(data: bytes, most: int) -> int:
    return _counted(data, most, lambda: lzma.LZMADecompressor(memlimit=_LZMA_BYTES))


def _counted(data: bytes, most: int, begin: Callable[[], Any]) -> int:
    size, left = 0, data
    # Streams may follow one another; zeros after the last are none.
    while left.strip(b"\0") and size <= most:
        stream, waiting = begin(), left
        while not stream.eof and size <= most:
            piece = len(stream.decompress(waiting, _PIECE))
            waiting = getattr(stream, "unconsumed_tail", b"")
            if not piece and not waiting and not stream.eof and getattr(stream, "needs_input", True):
                raise EOFError("cut short")
            size += piece
        left = stream.unused_data
    return size


_SIZES: dict[str, Callable[[bytes, int], int]] = {
    "blosc": _blosc,
    "lz4": _lz4,
    "zstd": _zstd,
    "zlib": _deflate,
    "gzip": _deflate,
    "bz2": _bz2,
    "lzma": _lzma,
}


class _Bounded2:
    """A codec of Zarr v2 that unpacks nothing beyond a size."""

    codec_id = "bounded"

    def __init__(self, codec: Any, most: int) -> None:
        self.codec, self.most = codec, most

    def encode(self, buf: Any) -> Any:
        return self.codec.encode(buf)

    def decode(self, buf: Any, out: Any = None) -> Any:
        check_unpacked(self.codec.codec_id, bytes(buf), self.most)
        return self.codec.decode(buf, out)

    def get_config(self) -> dict[str, Any]:
        return dict(self.codec.get_config())

    @classmethod
    def from_config(cls, config: Any) -> _Bounded2:
        """Zarr asks whether there is one; what is read has no such codec."""
        raise NotImplementedError


@dataclass(frozen=True)
class _Bounded3(zarr.abc.codec.BytesBytesCodec):
    """A codec of Zarr v3 that unpacks nothing beyond the shape of its chunk."""

    codec: Any
    name: str
    is_fixed_size = False

    def to_dict(self) -> dict[str, Any]:
        return dict(self.codec.to_dict())

    def evolve_from_array_spec(self, array_spec: Any) -> _Bounded3:
        return replace(self, codec=self.codec.evolve_from_array_spec(array_spec))

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        return int(self.codec.compute_encoded_size(input_byte_length, chunk_spec))

    async def _decode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        check_unpacked(self.name, chunk_data.to_bytes(), math.prod(chunk_spec.shape) + _MORE)
        (decoded,) = await self.codec.decode([(chunk_data, chunk_spec)])
        return decoded


def _bounded3(codecs: Iterable[Any]) -> tuple[Any, ...]:
    found: list[Any] = []
    for codec in codecs:
        name = str(codec.to_dict()["name"]).removeprefix("numcodecs.")
        if isinstance(codec, zarr.codecs.ShardingCodec):
            # The index has a size of its own, by the number of chunks in a shard.
            for one in codec.index_codecs:
                if not isinstance(one, zarr.codecs.BytesCodec | zarr.codecs.Crc32cCodec):
                    raise ValueError("shards whose index is packed; convert the slide without that")
            found.append(replace(codec, codecs=_bounded3(codec.codecs)))
        elif isinstance(codec, zarr.abc.codec.BytesBytesCodec):
            if name not in _SIZES:
                _check_same(name)
            found.append(_Bounded3(codec, name) if name in _SIZES else codec)
        elif isinstance(codec, zarr.codecs.BytesCodec | zarr.codecs.TransposeCodec):
            found.append(codec)
        else:
            _check_same(name)
            found.append(codec)
    return tuple(found)
