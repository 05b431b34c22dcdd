import os
import shutil
import threading

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from wsi_idc.data import kaggle
from wsi_idc.data.kaggle import index_patches, read_patch
from wsi_idc.data.store import open_patches
from wsi_idc.errors import DataError

from helpers import write_patches


@pytest.fixture
def patches(tmp_path):
    """Patches of two patients; one is cut at the edge of its section."""
    found = index_patches(write_patches(tmp_path / "patches", ["a", "b"], rows=3, cols=3))
    Image.fromarray(np.zeros((16, 9, 3), np.uint8)).save(found[4].path)
    return found


@pytest.fixture
def decoded(monkeypatch):
    """The files that are decoded from here on."""
    paths = []
    monkeypatch.setattr(kaggle, "read_patch", lambda path: paths.append(path) or read_patch(path))
    return paths


def test_on_disk_and_in_memory_it_is_the_same(patches, tmp_path):
    inside, on_disk = open_patches(patches, 16), open_patches(patches, 16, tmp_path / "cache")
    assert isinstance(on_disk.pixels, np.memmap)
    for found in (inside, on_disk):
        kept = [p for n, p in enumerate(patches) if n != 4]
        assert found.patches == kept
        assert (len(found), found.left_out, found.size) == (17, 1, 16)
        np.testing.assert_array_equal(found.pixels, np.stack([read_patch(p.path) for p in kept]))
        assert found.labels.tolist() == [p.label for p in kept]
        assert found.patients.tolist() == [p.patient for p in kept]


def test_more_than_a_chunk(patches, tmp_path, monkeypatch):
    monkeypatch.setattr(kaggle, "_CHUNK", 4)
    np.testing.assert_array_equal(open_patches(patches, 16).pixels, open_patches(patches, 16, tmp_path).pixels)


def test_the_second_call_decodes_nothing(patches, tmp_path, decoded):
    first = open_patches(patches, 16, tmp_path / "cache")
    assert len(decoded) == 18
    again = open_patches(patches, 16, tmp_path / "cache")
    assert len(decoded) == 18
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert again.left_out == 1


def test_other_patches_or_another_size_are_decoded_anew(patches, tmp_path, decoded):
    open_patches(patches, 16, tmp_path / "cache")
    open_patches(patches[:5], 16, tmp_path / "cache")
    assert len(decoded) == 18 + 5
    with pytest.raises(DataError, match="none of 18 patches is 9x9 pixels"):
        open_patches(patches, 9, tmp_path / "cache")
    assert len(decoded) == 18 + 5 + 18


def test_a_changed_file_is_noticed_and_a_copy_is_the_same(patches, tmp_path, decoded):
    """By what it holds: not by its length and time, which an exchanged file may have, nor by where it lies."""
    open_patches(patches, 16, tmp_path / "cache")
    path = patches[0].path
    status, content = path.stat(), bytearray(path.read_bytes())
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "patches", copy)
    open_patches(index_patches(copy), 16, tmp_path / "cache")
    assert len(decoded) == 18
    Image.fromarray(np.full((16, 16, 3), 7, np.uint8)).save(path)
    changed = path.read_bytes()
    # Bytes behind the end of an image are of no image.
    path.write_bytes(changed + bytes(len(content) - len(changed)))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert (open_patches(patches, 16, tmp_path / "cache").pixels[0] == 7).all()
    assert len(decoded) == 2 * 18


def test_interrupted_it_leaves_no_half_cache(patches, tmp_path, monkeypatch):
    def interrupted(path):
        if path == patches[7].path:
            raise KeyboardInterrupt
        return read_patch(path)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(kaggle, "read_patch", interrupted)
        open_patches(patches, 16, tmp_path / "cache")
    assert [p.suffix for p in (tmp_path / "cache").iterdir()] == [".lock"]
    np.testing.assert_array_equal(
        open_patches(patches, 16, tmp_path / "cache").pixels, open_patches(patches, 16).pixels
    )


@pytest.mark.parametrize("lost", ["kept.npy", "npy"])
def test_what_a_killed_process_left_is_replaced(patches, tmp_path, decoded, lost):
    open_patches(patches, 16, tmp_path)
    (pixels,) = [p for p in tmp_path.glob("patches-*.npy") if not p.name.endswith(".kept.npy")]
    (pixels if lost == "npy" else pixels.with_suffix(".kept.npy")).unlink()
    half = tmp_path / f".1-{pixels.name}"
    half.write_bytes(b"half")
    assert len(open_patches(patches, 16, tmp_path)) == 17
    assert len(decoded) == 2 * 18
    assert not half.exists()


def test_while_another_process_decodes_it_waits(patches, tmp_path, decoded):
    open_patches(patches, 16, tmp_path)
    (lock,) = tmp_path.glob("*.lock")
    found = []
    with FileLock(lock):
        waiting = threading.Thread(target=lambda: found.append(open_patches(patches, 16, tmp_path)))
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
    waiting.join(10)
    assert len(found[0]) == 17
    assert len(decoded) == 18


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_damaged_file_is_named(patches, tmp_path, on_disk):
    patches[3].path.write_bytes(b"damaged")
    with pytest.raises(DataError, match=f"{patches[3].path.name}: cannot be read as an image"):
        open_patches(patches, 16, tmp_path / "cache" if on_disk else None)
    if on_disk:
        assert not list((tmp_path / "cache").glob("*.npy"))
