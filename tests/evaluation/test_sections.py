"""What `segment` says of a section and what `evaluate` says of its patches is one answer."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from wsi_idc import Settings, find_model, read_heatmap
from wsi_idc.data.assemble import assemble
from wsi_idc.data.kaggle import index_patches
from wsi_idc.evaluation.predictions import predict_patches
from wsi_idc.inference.choose import make_engine
from wsi_idc.inference.ensemble import Ensemble
from wsi_idc.inference.predictor import Predictor
from wsi_idc.runs.run import Runner

SIDE = 50


def by_both(data, patient, folder):
    """The probabilities (n,) of one section as a slide and as patches, and how many places only `segment` computed.

    A patch counts that `segment` takes for tissue: of others it says nothing, and as neighbours it does not know them.
    """
    package = find_model()
    slide = assemble(data, patient, folder)
    heat = read_heatmap(Runner(package, Settings(engine="onnx")).run(slide, folder / "run").heatmap)[0]
    patches = index_patches(data, {patient})
    computed = [p for p in patches if np.isfinite(heat[(p.y - 1) // SIDE, (p.x - 1) // SIDE])]
    found = predict_patches(computed, Ensemble([Predictor(package, make_engine("onnx", package))]))
    as_slide = np.array([heat[(p.y - 1) // SIDE, (p.x - 1) // SIDE] for p in found.patches])
    return as_slide, found.probability, int(np.isfinite(heat).sum()) - len(computed)


def test_a_lossless_section_and_its_patches_have_the_same_probabilities(section, tmp_path):
    data = tmp_path / "patches"
    rows, cols = (side // SIDE for side in section.pixels.shape[:2])
    for row, col in np.ndindex(rows, cols):
        pixels = section.pixels[row * SIDE : (row + 1) * SIDE, col * SIDE : (col + 1) * SIDE]
        if np.ptp(pixels.mean(2)) > 60:
            place = data / "8867" / "0"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place / f"8867_idx5_x{col * SIDE + 1}_y{row * SIDE + 1}_class0.png")
    as_slide, as_patches, others = by_both(data, "8867", tmp_path / "out")
    assert others == 0 and len(as_slide) > 50 and np.ptp(as_slide) > 0.1
    np.testing.assert_allclose(as_slide, as_patches, atol=1e-3)


@pytest.mark.realdata
@pytest.mark.parametrize("patient", ["8917", "10260"])
def test_a_real_section_and_its_patches_have_the_same_probabilities(patient, shared, tmp_path):
    unpack = [sys.executable, shared / "idc" / "unpack.py", tmp_path / "idc", "--patients", patient]
    subprocess.run(unpack, check=True, capture_output=True)
    as_slide, as_patches, others = by_both(tmp_path / "idc", patient, tmp_path / "out")
    assert others == 0 and len(as_slide) > 900
    np.testing.assert_allclose(as_slide, as_patches, atol=1e-3)
