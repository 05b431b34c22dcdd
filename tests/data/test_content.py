import hashlib
import os

import numpy as np
import pytest

from wsi_idc.data.content import file_digests, pixel_digest
from wsi_idc.data.kaggle import index_patches, read_patch
from wsi_idc.errors import DataError

from helpers import write_patches


def test_files_have_digests_of_their_bytes_in_order(tmp_path, monkeypatch):
    patches = index_patches(write_patches(tmp_path, ["a", "b"]))
    expected = [hashlib.blake2b(p.path.read_bytes(), digest_size=16).digest() for p in patches]
    assert file_digests(patches) == expected
    monkeypatch.setattr("wsi_idc.data.content._BATCH", 3)
    assert file_digests(patches[::-1]) == expected[::-1]
    assert file_digests([]) == []


def test_what_cannot_be_read_is_named(tmp_path):
    patches = index_patches(write_patches(tmp_path, ["a"]))
    patches[2].path.unlink()
    os.mkfifo(patches[2].path)
    with pytest.raises(DataError, match=f"{patches[2].path.name}: cannot be read .*get the file again or remove it"):
        file_digests(patches)


def test_pixels_have_a_digest_whatever_lies_around_them(tmp_path):
    pixels = read_patch(index_patches(write_patches(tmp_path, ["a"]))[0].path)
    around = np.zeros((40, 40, 3), np.uint8)
    around[5:21, 7:23] = pixels
    assert pixel_digest(around[5:21, 7:23]) == pixel_digest(pixels)
    around[8, 10, 1] ^= 1
    assert pixel_digest(around[5:21, 7:23]) != pixel_digest(pixels)
