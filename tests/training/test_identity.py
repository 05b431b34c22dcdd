"""A run that is there is gone on with, or taken for done, only where the very same would be made."""

import os
import shutil

import pytest
from PIL import Image

from wsi_idc.data.split import write_split
from wsi_idc.errors import OutputError
from wsi_idc.training import run as training_run
from wsi_idc.training.config import read_config
from wsi_idc.training.identity import content_of_config
from wsi_idc.training.package import package_run
from wsi_idc.training.run import train

from helpers import SMALL, write_patches

pytestmark = pytest.mark.usefixtures("few_resamples")
CONFIG = read_config(None, [*SMALL, "fit.epochs=5"])
REFUSED = "holds a training with another configuration, other patches or another model to begin with; choose another -o"


@pytest.fixture
def copy(patches, tmp_path):
    return shutil.copytree(patches, tmp_path / "copy")


def test_a_copy_of_the_patches_with_other_times_is_the_same_training(copy, trained, monkeypatch):
    monkeypatch.setattr(training_run, "fit", lambda *_: pytest.fail("trained again"))
    for path in copy.rglob("*.png"):
        os.utime(path, (1, 1))
    assert train(copy, CONFIG, trained)["metrics"]


def test_another_configuration_or_more_patches_are_refused(patches, copy, trained):
    with pytest.raises(OutputError, match=REFUSED):
        train(patches, read_config(None, [*SMALL, "fit.epochs=6"]), trained)
    write_patches(copy, ["8951"])
    with pytest.raises(OutputError, match=REFUSED):
        train(copy, CONFIG, trained)


@pytest.mark.parametrize("patient", ["8865", "8867"])
def test_other_pixels_under_the_same_names_are_refused(copy, trained, patient):
    """Of training and of validation; as many bytes, and the same time."""
    path = next((copy / patient / "0").iterdir())
    status, content = path.stat(), bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(OutputError, match=REFUSED):
        train(copy, CONFIG, trained)


def test_a_patient_who_changes_sides_is_another_training(patches, tmp_path):
    """The patches of both sides one after the other are the same list."""
    found = []
    for name, train_part, val in (("a", ["8865"], ["8913", "8915"]), ("b", ["8865", "8913"], ["8915"])):
        write_split(tmp_path / name, {"train": train_part, "val": val, "test": []})
        config = read_config(None, [f"data.split={tmp_path / name}"])
        found.append(content_of_config(config, patches))
    assert found[0] != found[1]


def test_other_weights_to_begin_with_are_refused(patches, trained, tmp_path):
    """The folder of a model, or the file of published weights, was exchanged for another of that name."""
    model = package_run(trained, tmp_path / "model").folder
    begun = [*(s for s in SMALL if "options" not in s), "fit.epochs=0", f"model.init={model}"]
    first = train(patches, read_config(None, begun), tmp_path / "run")
    assert train(patches, read_config(None, begun), tmp_path / "run") == first
    package_run(trained, model, version="2.0", overwrite=True)
    with pytest.raises(OutputError, match=REFUSED):
        train(patches, read_config(None, begun), tmp_path / "run")
    weights = tmp_path / "weights.npz"
    config = read_config(None, ["model.architecture=efficientnet_lite0", f"model.weights={weights}"])
    found = set()
    for content in (b"one", b"other"):
        weights.write_bytes(content)
        found.add(content_of_config(config, patches))
    assert len(found) == 2


def test_a_run_of_an_older_version_says_that_it_is_one(patches, trained, tmp_path):
    older = shutil.copytree(trained, tmp_path / "run")
    first, _, rest = (older / "config.toml").read_text().partition("\n")
    assert first.startswith("# wsi-idc train; content ")
    (older / "config.toml").write_text(f"# wsi-idc train; patches 0123456789abcdef\n{rest}")
    with pytest.raises(OutputError, match="of an older version, which did not note the content of its patches"):
        train(patches, CONFIG, older)


def test_pixels_that_were_decoded_before_are_not_taken_for_others(patches, copy, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = read_config(None, [*SMALL, "fit.epochs=0", "data.cache=disk"])
    seen = []
    for name in ("first", "second"):
        hooks = training_run.Hooks(on_data=lambda training, _: seen.append(training.pixels[0].copy()))
        train(copy, config, tmp_path / name, hooks)
        path = min((copy / "8865").rglob("*_x1_y1_*"))
        status = path.stat()
        Image.new("RGB", (16, 16), "pink").save(path)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (seen[0] != seen[1]).any()
