import json

import numpy as np
import platformdirs
import pytest
from click.testing import CliRunner
from filelock import FileLock

from wsi_idc.cli.group import main
from wsi_idc.data.cache import cached_patches, remove_cached
from wsi_idc.data.kaggle import index_patches
from wsi_idc.data.store import open_patches

from helpers import write_patches


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The user's cache, with the decoded patches of two trainings and what is nobody's business here."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *_, **__: str(folder))
    patches = index_patches(write_patches(tmp_path / "patches", ["a"], rows=3, cols=3))
    open_patches(patches, 16, folder)
    open_patches(patches[:5], 16, folder)
    (folder / "engines.json").write_text("{}")
    return folder


def command(*arguments):
    return CliRunner().invoke(main, ["data", "cache", *arguments])


def test_what_trainings_decoded_is_listed(cache):
    found = cached_patches()
    assert sorted((c.patches, c.patch_size) for c in found) == [(5, 16), (9, 16)]
    # 128 bytes of header, as NumPy writes them, and three bytes a pixel.
    assert sorted(c.bytes for c in found) == [128 + 5 * 16 * 16 * 3, 128 + 9 * 16 * 16 * 3]
    done = command()
    assert done.exit_code == 0
    assert all(str(c.path) in done.stdout for c in found)
    assert done.stdout.endswith(f"{cache}: 2 files of decoded patches, 0.0 MiB\n")
    assert [f["patches"] for f in json.loads(command("--json").stdout)["files"]] == [c.patches for c in found]


def test_it_is_removed_and_nothing_else(cache):
    leaving = cache / ".host-7-patches-0123456789abcdef.npy"
    leaving.write_bytes(b"of a process that was killed")
    opened = np.load(cached_patches()[0].path, mmap_mode="r")
    done = command("--remove")
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith("3 removed\n")
    assert {p.name for p in cache.iterdir() if p.suffix != ".lock"} == {"engines.json"}
    assert opened.sum() > 0, "a training that has them open goes on"
    assert cached_patches() == []


def test_what_is_just_being_decoded_stays(cache):
    at_work, other = (c.path for c in cached_patches())
    with FileLock(at_work.with_suffix(".lock")):
        done = command("--remove")
    assert done.exit_code == 1
    assert f"error: {at_work}: a training is at it" in done.stderr
    assert [c.path for c in cached_patches()] == [at_work]
    assert remove_cached() == ([at_work], [])
    assert not other.exists()


def test_there_may_be_no_cache_yet(tmp_path):
    assert cached_patches(tmp_path / "none") == []
    assert remove_cached(tmp_path / "none") == ([], [])
