"""A training whose disk is full says so and where; once there is space, it goes on to the same weights."""

import errno
import os
import platform
import re
import subprocess

import keras
import numpy as np
import pytest
import tensorflow as tf

from wsi_idc.errors import DiskError
from wsi_idc.training import fit as fitting
from wsi_idc.training.config import read_config
from wsi_idc.training.left import logs
from wsi_idc.training.run import train

from helpers import SMALL

pytestmark = pytest.mark.usefixtures("few_resamples")
CONFIG = read_config(None, [*SMALL, "fit.epochs=5"])
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _FullEvents:
    """What TensorFlow does where it cannot write events: its error is none of the system."""

    def __init__(self, folder):
        self._folder = folder

    def add_scalar(self, *_, **__):
        pass

    def flush(self):
        raise tf.errors.ResourceExhaustedError(None, None, f"{self._folder}/events; {FULL.strerror}")

    close = flush


def test_at_each_of_its_files(patches, trained, tmp_path, monkeypatch):
    run, savez = tmp_path / "run", np.savez

    def full(stream, *arrays, **named):
        stream.write(b"half of it")
        if len(named.get("history", "")) > len("[]"):
            raise FULL
        savez(stream, *arrays, **named)

    def saved(_network, path):
        path.write_bytes(b"half of it")
        raise FULL

    for place, patch in (
        ("checkpoint.npz", (fitting.np, "savez", full)),
        ("tensorboard", (logs, "Writer", _FullEvents)),
        ("encoder.keras", (keras.Model, "save", saved)),
    ):
        said = f"^{re.escape(str(run / place))}: no space left on the disk at /"
        with monkeypatch.context() as patched, pytest.raises(DiskError, match=said):
            patched.setattr(*patch)
            train(patches, CONFIG, run)
        assert [p.name for p in run.rglob("*") if p.name.startswith(".") and p.name != ".lock"] == []
        assert not (run / place).is_file()
    # What one that was killed was writing goes too.
    dead = subprocess.Popen(["true"])
    dead.wait()
    (run / f".{platform.node()[-12:]}-{dead.pid}-encoder.keras").write_bytes(b"half of it")
    train(patches, CONFIG, run)
    assert not list(run.glob(".*encoder.keras"))
    for name in ("run.json", "val-logits.csv"):
        assert (run / name).read_bytes() == (trained / name).read_bytes()
    kept, known = (keras.saving.load_model(f / "encoder.keras", compile=False).get_weights() for f in (run, trained))
    assert all(np.array_equal(a, b) for a, b in zip(kept, known, strict=True))
