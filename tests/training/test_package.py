import json
import shutil
import tomllib

import jsonschema
import keras
import numpy as np
import onnxruntime
import pytest

from wsi_idc.data.kaggle import index_patches, read_patch
from wsi_idc.data.scale import state_mpp
from wsi_idc.data.seen import patient_digests
from wsi_idc.data.split import write_split
from wsi_idc.errors import DataError, ModelError, OutputError
from wsi_idc.inference.engines import KerasEngine, OnnxEngine
from wsi_idc.models import package as model_package
from wsi_idc.models.architectures import ARCHITECTURES, build
from wsi_idc.models.package import load_package
from wsi_idc.training import package
from wsi_idc.training.card import model_card
from wsi_idc.training.config import read_config
from wsi_idc.training.fit import predict_logits
from wsi_idc.training.package import package_run, write_package
from wsi_idc.training.run import train

from helpers import FACTS, SMALL, NumpyEngine, numpy_package, write_patches

SCHEMA = json.loads(model_package.SCHEMA.read_text())


BEGUN = {"name": "first 1", "licence": "CC0-1.0", "official_parts": []}


@pytest.fixture(scope="module")
def packaged(trained, tmp_path_factory):
    return package_run(trained, tmp_path_factory.mktemp("packaged") / "small", version="3.1", licence="CC-BY-4.0")


@pytest.fixture
def run(trained, tmp_path):
    """A copy of a training that a test may change."""
    return shutil.copytree(trained, tmp_path / "run")


def result_of(run):
    return json.loads((run / "run.json").read_text())


def test_the_description_is_what_was_measured_and_valid(trained, packaged):
    result = result_of(trained)
    facts = json.loads((packaged.folder / "model.json").read_text())
    jsonschema.validate(facts, SCHEMA)
    assert (packaged.name, packaged.version, packaged.licence) == ("small", "3.1", "CC-BY-4.0")
    assert (packaged.mpp, packaged.patch_size, packaged.halo) == (4.0, 16, 0)
    assert (packaged.threshold, packaged.temperature) == (result["threshold"], result["temperature"])
    assert packaged.metrics["val"] == result["metrics"]["val"]
    assert {k: packaged.training_data[k] for k in ("patients", "patches")} == result["training_data"]
    assert "train and unlisted patients of the official split" in packaged.training_data["description"]
    assert {p.name for p in packaged.folder.iterdir()} == {
        "model.json",
        "MODEL_CARD.md",
        "encoder.keras",
        "encoder.onnx",
    }


def test_the_weights_are_those_of_the_training_and_checked(trained, packaged, tmp_path):
    model = keras.saving.load_model(trained / "encoder.keras", compile=False)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    for engine in (KerasEngine, OnnxEngine):
        found = engine(packaged).run("encoder", pixels)[:, 0]
        np.testing.assert_allclose(found, predict_logits(model, pixels), atol=1e-4)
    damaged = load_package(shutil.copytree(packaged.folder, tmp_path / "damaged"))
    with (damaged.folder / "encoder.onnx").open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(ModelError, match=r"its sha256 is not the one that model\.json states"):
        OnnxEngine(damaged)


def test_batches_of_any_length(packaged, patches):
    session = onnxruntime.InferenceSession(packaged.read_weights("encoder", "onnx"))
    pixels = np.stack([read_patch(p.path) for p in index_patches(patches)[:17]])
    run = [session.run(None, {session.get_inputs()[0].name: pixels[:n]})[0] for n in (1, 3, 17)]
    assert [found.shape for found in run] == [(1, 1), (3, 1), (17, 1)]
    np.testing.assert_allclose(run[0], run[2][:1], atol=1e-5)
    np.testing.assert_allclose(run[1], run[2][:3], atol=1e-5)


def test_the_card_says_what_was_measured(trained, packaged):
    card = (packaged.folder / "MODEL_CARD.md").read_text()
    result = result_of(trained)
    assert card.startswith("# small 3.1\n")
    assert f"{result['weights']:,} weights. Licence: CC-BY-4.0." in card
    assert "Trained on 64 patches of 4 patients" in card
    assert f"sigmoid(logit / {result['temperature']})" in card
    assert "Each patch is judged by itself." in card
    assert "Training ran without these patients." in card
    table = [line for line in card.splitlines() if line.startswith("|")]
    groups = list(result["metrics"].values())
    assert all(line.count("|") == len(groups) + 2 for line in table)
    assert "all validation patients: 3 patients, 48 patches" in table[0]
    for name, title in (("auc", "AUC"), ("f1", "F1 (IDC)"), ("ece", "expected calibration error")):
        (row,) = [line for line in table if line.startswith(f"| {title} |")]
        for group, cell in zip(groups, row.split("|")[2:-1], strict=True):
            low, high = group[name]["ci95"]
            assert cell.strip() == f"{group[name]['value']:.3f} ({low:.3f} to {high:.3f})"
    for placeholder in ("TODO", "TBD", "None", "nan", "null", "{", "..."):
        assert placeholder not in card.partition("## Configuration")[0]
    written = card.partition("```toml\n")[2].partition("```")[0]
    assert tomllib.loads(written) == tomllib.loads((trained / "config.toml").read_text())


def change(run, **changes):
    (run / "run.json").write_text(json.dumps(result_of(run) | changes))


def test_what_is_not_defined_is_left_out_and_said(run, tmp_path):
    """A group of one patient has no intervals; without a positive decision there is no precision."""
    metrics = result_of(run)["metrics"]
    undefined = {"value": None, "ci95": [None, None]}
    one = {k: v | {"ci95": [None, None]} if isinstance(v, dict) else v for k, v in metrics["val"].items()}
    change(run, metrics={"val": metrics["val"] | {"precision": undefined, "f1": undefined}, "val_whole_sections": one})
    made = package_run(run, tmp_path / "model")
    assert not {"f1", "precision"} & set(made.metrics["val"])
    assert made.metrics["val_whole_sections"]["auc"] == metrics["val"]["auc"]["value"]
    card = (made.folder / "MODEL_CARD.md").read_text()
    assert f"| F1 (IDC) | not defined | {metrics['val']['f1']['value']:.3f} (no interval) |" in card


@pytest.mark.parametrize(
    ("settings", "result", "said"),
    [
        ({}, {}, "Training ran without these patients.\n"),
        ({"fit": {"early_stopping": 3}}, {}, "without these patients, but when it ended was chosen on them.\n"),
        ({"model": {"init": "first"}}, {}, "whether first, from whose weights it began, had seen them is not known"),
        ({"model": {"init": "first"}}, {"begun": BEGUN | {"val_seen": 0}}, "and so did that of first 1, from whose"),
        ({"model": {"init": "first"}}, {"begun": BEGUN | {"val_seen": 2}}, "but first 1, from whose weights it began"),
        ({}, {"patients_in_both": 2}, "2 of these patients have patches in the training data as well"),
    ],
)
def test_the_card_says_what_training_knew_of_those_measured(trained, packaged, settings, result, said):
    text = (trained / "config.toml").read_text()
    for section, values in settings.items():
        for key, value in values.items():
            before = tomllib.loads(text)[section][key]
            text = text.replace(f"{key} = {json.dumps(before)}", f"{key} = {json.dumps(value)}")
    facts = json.loads((packaged.folder / "model.json").read_text())
    card = model_card(facts, result_of(trained) | result, text)
    assert said in card


def test_the_card_says_of_the_public_patches_what_is_known_of_them_only(trained, packaged):
    """Of patches of somebody else it said that one pathologist had outlined them."""
    text = (trained / "config.toml").read_text()
    facts = json.loads((packaged.folder / "model.json").read_text())
    split = json.dumps(tomllib.loads(text)["data"]["split"])
    for named, public in (('"official"', True), ('"lists"', False)):
        card = model_card(facts, result_of(trained), text.replace(f"split = {split}", f"split = {named}"))
        assert ("The public IDC patches" in card) is ("one pathologist" in card) is public
        assert ("is not known here" in card) is not public


def test_an_unfinished_run_is_refused(run, tmp_path):
    (run / "run.json").unlink()
    with pytest.raises(DataError, match=r"has no run\.json; the training is not at its end, run `wsi-idc train` again"):
        package_run(run, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_damaged_network_is_named(run, tmp_path):
    content = (run / "encoder.keras").read_bytes()
    for damaged in (b"", b"damaged", content[: len(content) // 2]):
        (run / "encoder.keras").write_bytes(damaged)
        with pytest.raises(DataError, match=r"encoder\.keras: cannot be read"):
            package_run(run, tmp_path / "model")
    (run / "encoder.keras").unlink()
    with pytest.raises(DataError, match=r"encoder\.keras: cannot be read"):
        package_run(run, tmp_path / "model")


def test_an_output_that_is_there_stays(trained, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "letter.txt").write_text("Dear")
    with pytest.raises(OutputError, match="model: is there already"):
        package_run(trained, tmp_path / "model")
    assert [p.name for p in (tmp_path / "model").iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("name", ["My model", "Modell", "-model", "modèle"])
def test_names_that_are_none_for_a_model(trained, tmp_path, name):
    with pytest.raises(OutputError, match="is no name for a model"):
        package_run(trained, tmp_path / name)
    assert not list(tmp_path.iterdir())


OPTIONS = {
    "separable_residual_cnn": {"widths": [4, 8]},
    "residual_cnn": {"widths": [4, 8]},
    "plain_cnn": {"widths": [4, 8]},
    "cancernet": {},
    "efficientnet_lite0": {"blocks": 4},
}


def test_every_architecture_is_tried():
    # VGG16 and ResNet50, of 15 and 24 million weights, take too long for here.
    assert set(OPTIONS) == set(ARCHITECTURES) - {"vgg16", "resnet50"}


@pytest.mark.parametrize("name", OPTIONS)
def test_engines_agree_on_every_architecture(tmp_path, name):
    keras.utils.set_random_seed(0)
    model = build(name, patch_size=16, **OPTIONS[name])
    rng = np.random.default_rng(0)
    # Off the zeros and ones that layers start from, as after training.
    model.set_weights([w + rng.uniform(0, 0.1, w.shape).astype(np.float32) for w in model.get_weights()])
    # Checks itself that the probabilities of both engines are within 1e-4.
    made = write_package(tmp_path / name, FACTS | {"name": name, "patch_size": 16}, {"encoder": model})
    pixels = rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    onnx, keras_ = (engine(made).run("encoder", pixels) for engine in (OnnxEngine, KerasEngine))
    assert onnx.shape == (3, 1)
    np.testing.assert_allclose(onnx, keras_, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("shift", "extra"), [(0.01, False), (0.0, True)])
def test_a_package_whose_engines_disagree_is_refused(monkeypatch, shift, extra):
    """In values, or in form: an exporter that adds a dimension would pass a comparison that broadcasts."""

    class Exported(NumpyEngine):
        def run(self, network, *inputs):
            found = super().run(network, *inputs)
            if network == "context":
                found = found[:, None] if extra else found + shift
            return found

    engines = {"onnx": lambda p: Exported(p.halo), "keras": lambda p: NumpyEngine(p.halo)}
    monkeypatch.setattr(package, "ENGINES", engines | {"onnx": engines["keras"]})
    package._compare_engines(numpy_package(halo=2))
    monkeypatch.setattr(package, "ENGINES", engines)
    with pytest.raises(ModelError, match="other probabilities"):
        package._compare_engines(numpy_package(halo=2))


def test_what_the_slides_of_training_were_like_goes_along(run, tmp_path):
    told = {"pixels": {"limit": 1.0}, "features": {"limit": 2.0}}
    (run / "familiar.json").write_text(json.dumps(told))
    made = package_run(run, tmp_path / "model")
    assert made.read_familiar() == told
    (made.folder / "familiar.json").write_text("{}")
    with pytest.raises(ModelError, match=r"familiar\.json: its sha256 is not the one"):
        made.read_familiar()


def test_the_card_has_what_perturbations_change(run, packaged, tmp_path):
    own = dict.fromkeys(("auc", "f1", "changed", "area_ratio", "dice"), 0.9) | {"specificity": 0.97}
    changed = own | {"auc": 0.88, "f1": 0.95, "changed": 0.021, "area_ratio": None}
    robustness = {
        "set_version": 1,
        "n_patches": 1234,
        "n_patients": 5,
        "unperturbed": own,
        "perturbations": {"blur-0.8": changed},
        "prevalence": {"0": own | {"auc": None, "specificity": 0.985}},
    }
    models = [{"temperature": packaged.temperature, "threshold": packaged.threshold}]
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    file = evaluation / "metrics.json"
    file.write_text(json.dumps({"models": models, "robustness": robustness}))
    card = (package_run(run, tmp_path / "model", evaluation=evaluation).folder / "MODEL_CARD.md").read_text()
    assert "on 1,234 patches of 5\npatients" in card
    assert "| blur-0.8 | -0.020 | +0.050 | 2.1% | nan | 0.900 |" in card
    assert "1.5% with 0% of the IDC patches left, and 3.0% with all." in card
    file.write_text(json.dumps({"models": [{"temperature": 9.0, "threshold": 0.5}], "robustness": robustness}))
    with pytest.raises(DataError, match="is of another model than this run"):
        package_run(run, tmp_path / "other", evaluation=evaluation)
    file.write_text(json.dumps({"models": models}))
    with pytest.raises(DataError, match="is not of `wsi-idc evaluate --perturb`"):
        package_run(run, tmp_path / "other", evaluation=evaluation)
    assert not (tmp_path / "other").exists()


def test_what_is_no_model_is_never_replaced(packaged, tmp_path):
    """Refused before anything is exported, by what was there; a model of the same name gives way."""
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.txt").write_text("years")
    mixed = shutil.copytree(packaged.folder, tmp_path / "mixed")
    (mixed / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name, said in {"thesis": "holds something else", "mixed": "such as notes.txt", "file": "is no folder"}.items():
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(OutputError, match=said):
            write_package(tmp_path / name, FACTS, {})
        assert sorted(tmp_path.rglob("*")) == before
    model = build("separable_residual_cnn", patch_size=16, widths=[4, 8])
    older = shutil.copytree(packaged.folder, tmp_path / "small")
    made = write_package(older, FACTS | {"name": "small", "patch_size": 16}, {"encoder": model})
    assert made.sha256 != packaged.sha256
    assert {p.name for p in older.iterdir()} == {"model.json", "encoder.keras", "encoder.onnx"}


def test_scale_and_licence_are_those_of_the_model_that_training_went_on_with(patches, trained, tmp_path):
    """Once a model of 1 um/px became one of 4 on its way through a training, and any licence Apache-2.0."""
    first = package_run(trained, tmp_path / "first", mpp=1.0, licence="CC-BY-NC-4.0")
    begun = ["data.cache=memory", "fit.batch_size=16", "fit.epochs=0", f"model.init={first.folder}"]
    result = train(patches, read_config(None, begun), tmp_path / "run")
    assert any(note.startswith("nothing states the scale of the patches: ") for note in result["notes"])
    made = package_run(tmp_path / "run", tmp_path / "second")
    assert (made.mpp, made.licence) == (1.0, "CC-BY-NC-4.0")
    assert package_run(tmp_path / "run", tmp_path / "third", mpp=1.0, licence="CC0-1.0").licence == "CC0-1.0"
    with pytest.raises(DataError, match="was trained at 1 um/px, and not at 4; leave --mpp out"):
        package_run(tmp_path / "run", tmp_path / "fourth", mpp=4.0)


def test_a_model_is_of_the_scale_that_the_patches_state(patches, trained, tmp_path):
    data = shutil.copytree(patches, tmp_path / "patches")
    state_mpp(data, 1.0)
    config = read_config(None, [*SMALL, "fit.epochs=0"])
    train(data, config, tmp_path / "run")
    made = package_run(tmp_path / "run", tmp_path / "fine")
    assert (made.mpp, made.licence) == (1.0, "not stated")
    with pytest.raises(DataError, match="was trained at 1 um/px, and not at 2"):
        package_run(tmp_path / "run", tmp_path / "other", mpp=2.0)
    # The scale is of the identity of a run; a model of another one cannot be gone on with.
    state_mpp(data, 2.0)
    with pytest.raises(OutputError, match="holds a training with another"):
        train(data, config, tmp_path / "run")
    begun = read_config(None, ["fit.epochs=0", f"model.init={tmp_path / 'fine'}"])
    with pytest.raises(
        DataError, match=r"at 2 um/px \(patches\.json\), and fine, .* sees 1; give a model of that scale"
    ):
        train(data, begun, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_run_that_does_not_know_its_scale_is_asked_for_it(run, tmp_path):
    result = result_of(run)
    del result["mpp"]
    (run / "run.json").write_text(json.dumps(result))
    with pytest.raises(DataError, match="does not say the scale of the patches; give --mpp, 4 for the Kaggle set"):
        package_run(run, tmp_path / "model")
    assert package_run(run, tmp_path / "model", mpp=4.0).mpp == 4.0


def test_whom_a_model_has_seen_is_kept_and_inherited(patches, packaged, tmp_path):
    """With digests of ids, of training and of validation, and with those of the model that it began with."""
    ids = {"8865", "8913", "8915", "99999", "8867", "8914", "8917"}
    text = (packaged.folder / "model.json").read_text()
    assert packaged.training_data["patients_seen"] == patient_digests(ids)
    assert not [patient for patient in ids if f'"{patient}"' in text]
    assert packaged.training_data["official_parts"] == ["train", "unlisted", "val"]
    own = write_patches(tmp_path / "own", ["a", "b", "c", "8865"])
    write_split(tmp_path / "split", {"train": ["a", "b"], "val": ["c", "8865"], "test": []})
    begun = ["data.cache=memory", "fit.batch_size=16", "fit.epochs=0"]
    begun += [f"model.init={packaged.folder}", f"data.split={tmp_path / 'split'}"]
    result = train(own, read_config(None, begun), tmp_path / "run")
    assert any(note.startswith("1 of the 2 validation patients were seen by small 3.1") for note in result["notes"])
    made = package_run(tmp_path / "run", tmp_path / "second").training_data
    assert made["patients_seen"] == patient_digests(ids | {"a", "b", "c"})
    assert made["official_parts"] == ["train", "unlisted", "val"]
    jsonschema.validate(json.loads((tmp_path / "second" / "model.json").read_text()), SCHEMA)
