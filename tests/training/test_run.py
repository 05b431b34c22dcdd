import csv
import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from wsi_idc.base.files import locked
from wsi_idc.data.kaggle import index_patches, place_patches, read_patch
from wsi_idc.data.split import hospital_split, leaky_patch_split, random_split, write_leaky_split, write_split
from wsi_idc.data.store import open_patches
from wsi_idc.errors import DataError, ModelError, OutputError
from wsi_idc.evaluation.evaluate import Measured, evaluate_model
from wsi_idc.inference.engines import ENGINES
from wsi_idc.inference.predictor import Predictor
from wsi_idc.models.package import load_package
from wsi_idc.models.registry import find_model
from wsi_idc.training import run as training_run
from wsi_idc.training.config import DataConfig, read_config
from wsi_idc.training.fit import predict_logits
from wsi_idc.training.package import package_run
from wsi_idc.training.run import train, whole_sections
from wsi_idc.training.select import check_parts, select_patches

from helpers import SMALL, write_patches

pytestmark = pytest.mark.usefixtures("few_resamples")
CONTEXT = [
    "model.context=true",
    "context.members=2",
    "context.steps=12",
    "context.variants=2",
    "context.width=8",
    "context.side=6",
]


def config(*settings):
    return read_config(None, [*SMALL, *settings])


@pytest.fixture(scope="module")
def with_context(few_resamples, patches, tmp_path_factory):
    """The folder of a small training with a context network, and of the package made of it."""
    folder = tmp_path_factory.mktemp("context")
    train(patches, config(*CONTEXT), folder / "run")
    package_run(folder / "run", folder / "model")
    return folder / "run", folder / "model"


def logits_of(run):
    """Logits of val-logits.csv by patient, x and y."""
    with (run / "val-logits.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {(r["patient"], int(r["x"]), int(r["y"])): float(r["logit"]) for r in rows}


def val_patches(patches):
    return [p for p in index_patches(patches) if p.patient in ("8867", "8914", "8917")]


def test_what_is_left_is_whole(patches, trained):
    result = json.loads((trained / "run.json").read_text())
    assert (result["architecture"], result["patch_size"], result["halo"]) == ("residual_cnn", 16, 0)
    # The parts of the official split that are named, and no patient of test.
    assert result["training_data"] == {"patients": 4, "patches": 64}
    assert (result["left_out"], result["patients_in_both"]) == (0, 0)
    model = keras.saving.load_model(trained / "encoder.keras", compile=False)
    assert result["weights"] == model.count_params()
    val = val_patches(patches)
    pixels = np.stack([read_patch(p.path) for p in val])
    expected = dict(zip([(p.patient, p.x, p.y) for p in val], predict_logits(model, pixels), strict=True))
    found = logits_of(trained)
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[k] for k in expected], list(expected.values()), atol=1e-4)
    groups = result["metrics"]
    assert (groups["val"]["patients"], groups["val"]["patches"]) == (3, 48)
    assert groups["val"]["auc"]["value"] > 0.8
    assert 0 < result["threshold"] < 1
    assert read_config(trained / "config.toml") == config("fit.epochs=5")
    assert not [p for p in trained.iterdir() if p.name.startswith(".") and p.name != ".lock"]


def test_the_logs_of_a_training(trained):
    with (trained / "log.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [r["epoch"] for r in rows] == ["1", "2", "3", "4", "5"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    events = EventAccumulator(str(trained / "tensorboard")).Reload()
    for name in ("loss", "val_loss", "val_auc", "learning_rate"):
        scalars = events.Tensors(name) if name in events.Tags()["tensors"] else events.Scalars(name)
        assert [s.step for s in scalars] == [1, 2, 3, 4, 5]
    assert (trained / "history.png").stat().st_size > 10_000
    assert (trained / "history.svg").read_text().startswith("<?xml")


def test_done_it_is_not_done_again(patches, trained, monkeypatch):
    before = {p: p.stat().st_mtime_ns for p in trained.rglob("*") if p.is_file()}
    monkeypatch.setattr(training_run, "fit", lambda *_: pytest.fail("trained again"))
    again = train(patches, config("fit.epochs=5"), trained)
    assert again == json.loads((trained / "run.json").read_text())
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_a_folder_of_something_else_is_refused(patches, tmp_path):
    (tmp_path / "letter.txt").write_text("Dear")
    with pytest.raises(OutputError, match=r"holds letter\.txt, which is of no training"):
        train(patches, config(), tmp_path)
    assert (tmp_path / "letter.txt").read_text() == "Dear"


def test_two_at_once_are_refused(patches, trained):
    with locked(trained), pytest.raises(OutputError, match=r"another wsi-idc .* is writing there"):
        train(patches, config("fit.epochs=5"), trained)


@pytest.mark.parametrize(
    ("settings", "error", "fault"),
    [
        (["model.architecture=nothing"], ModelError, "nothing: no such architecture"),
        (["model.options.patch_size=20"], DataError, "none of 64 patches is 20x20 pixels"),
        (["model.options.depth=3"], ModelError, "has no option depth"),
        (["fit.batch_size=65"], DataError, r"64 training patches are fewer than fit\.batch_size = 65"),
        (["model.architecture=plain_cnn", "model.context=true"], ModelError, "pools no features"),
        (["data.split=nowhere"], DataError, r"nowhere/train\.txt: no such file"),
        (["data.train=['training']"], DataError, "the split has no part training, but .*train, val"),
        (["model.init=nothing", "model.options={}"], ModelError, "no model 'nothing'"),
    ],
)
def test_what_does_not_do_is_said_before_training_and_leaves_nothing(patches, tmp_path, settings, error, fault):
    with pytest.raises(error, match=fault) as _kept:
        train(patches, config(*settings), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    # The exception is still alive, with all that its frames hold; the folder is free all the same.
    with locked(tmp_path / "run"):
        pass


def one_class(folder, patients):
    for patient in patients:
        shutil.rmtree(folder / patient / "1")


@pytest.mark.parametrize(
    ("patients", "fault"),
    [
        (["8865", "8913", "8915", "99999"], "training patches are of class 0; both are needed"),
        (["8867", "8914", "8917"], "validation patches are of class 0; both are needed"),
        (["8914", "8917"], "without 8867 the validation patches are not of both classes"),
    ],
)
def test_one_class_only(patches, tmp_path, patients, fault):
    one_class(shutil.copytree(patches, tmp_path / "patches"), patients)
    with pytest.raises(DataError, match=fault):
        train(tmp_path / "patches", config(), tmp_path / "run")


def test_one_validation_patient_is_too_few(patches, tmp_path):
    copy = shutil.copytree(patches, tmp_path / "patches")
    for patient in ("8914", "8917"):
        shutil.rmtree(copy / patient)
    with pytest.raises(DataError, match="without 8867 the validation patches are not of both classes"):
        train(copy, config(), tmp_path / "run")


def patients_of(*parts):
    return [{p.patient for p in part} for part in parts]


def test_the_official_split(patches):
    train_part, val = select_patches(patches, DataConfig())
    assert patients_of(train_part, val) == [{"8865", "8913", "8915", "99999"}, {"8867", "8914", "8917"}]
    listed_only, both = select_patches(patches, DataConfig(train=("train",), val=("val", "unlisted")))
    assert patients_of(listed_only, both) == [{"8865", "8913", "8915"}, {"8867", "8914", "8917", "99999"}]


def test_a_split_of_ones_own(patches, tmp_path):
    everybody = {p.patient for p in index_patches(patches)}
    split = random_split(everybody, (50, 25, 25), seed=0)
    write_split(tmp_path, split)
    found = select_patches(patches, DataConfig(split=str(tmp_path)))
    assert patients_of(*found) == [set(split["train"]), set(split["val"])]
    (tmp_path / "val.txt").write_text(split["train"][0])
    with pytest.raises(DataError, match=f"patient {split['train'][0]} is in .*; a patient has one side only"):
        select_patches(patches, DataConfig(split=str(tmp_path)))


def test_somebody_who_is_listed_and_not_there_is_named_as_in_an_evaluation(patches, tmp_path):
    """Once a training went on without those, and said nothing."""
    lists = {"train": ["8865", "gone", "away"], "val": ["8867", "8914"], "test": ["elsewhere"]}
    write_split(tmp_path / "split", lists)
    said = r"has no patches of away, gone; take them off the list or get their folders"
    for check in (check_parts, select_patches):
        with pytest.raises(DataError, match=said):
            check(patches, DataConfig(split=str(tmp_path / "split")))
    with pytest.raises(DataError, match=said):
        evaluate_model(patches, Measured([find_model("idc-patch")]), tmp_path / "o", tmp_path / "split" / "train.txt")
    # Test patients are of no use here.
    lists["train"] = ["8865"]
    write_split(tmp_path / "split", lists, overwrite=True)
    check_parts(patches, DataConfig(split=str(tmp_path / "split")))
    assert patients_of(*select_patches(patches, DataConfig(split=str(tmp_path / "split")))) == [
        {"8865"},
        {"8867", "8914"},
    ]


def test_a_patch_that_is_listed_and_not_there_is_named(patches, tmp_path):
    data = shutil.copytree(patches, tmp_path / "patches")
    split = leaky_patch_split(index_patches(data), (50, 40, 10), seed=0)
    write_leaky_split(tmp_path / "split", split, data)
    split["test"][0].path.unlink()
    config = DataConfig(split=str(tmp_path / "split"))
    select_patches(data, config)
    (gone := split["val"][3].path).unlink()
    with pytest.raises(DataError, match=f"has no patch {gone.relative_to(data).as_posix()}; take them off the list"):
        select_patches(data, config)


def test_a_split_by_hospital_has_no_validation_patients(patches, tmp_path):
    write_patches(tmp_path / "patches", ["10253", "8865"])
    write_split(tmp_path / "split", hospital_split(["10253", "8865"]))
    with pytest.raises(DataError, match="has no validation patches in the split"):
        select_patches(tmp_path / "patches", DataConfig(split=str(tmp_path / "split")))


def test_a_leaky_split_says_how_many_patients_it_shares(patches, tmp_path):
    every = index_patches(patches)
    split = leaky_patch_split(every, (50, 40, 10), seed=0)
    write_leaky_split(tmp_path / "split", split, patches)
    settings = [f"data.split={tmp_path / 'split'}", "fit.epochs=0"]
    found = select_patches(patches, config(*settings).data)
    assert [{p.path for p in part} for part in found] == [{p.path for p in split[n]} for n in ("train", "val")]
    shared = {p.patient for p in split["train"]} & {p.patient for p in split["val"]}
    assert train(patches, config(*settings), tmp_path / "run")["patients_in_both"] == len(shared) > 0
    package = package_run(tmp_path / "run", tmp_path / "leaky")
    card = (package.folder / "MODEL_CARD.md").read_text()
    assert f"{len(shared)} of these patients have patches in the training data as well" in card
    assert "Training ran without these patients" not in card


def test_sections_are_told_from_samples_at_any_patch_size(tmp_path):
    for size in (16, 50):
        folder = write_patches(tmp_path / str(size), ["8865"], size=size)
        write_patches(folder, ["8913"], size=size, rows=1, cols=9)
        whole = whole_sections(open_patches(index_patches(folder), size))
        assert whole.tolist() == [True] * 16 + [False] * 9


@pytest.mark.parametrize("context", [False, True])
def test_going_on_from_a_package_begins_where_it_ended(patches, tmp_path, trained, with_context, context):
    run, model = with_context if context else (trained, package_run(trained, tmp_path / "model").folder)
    begun = [*(s for s in SMALL if "options" not in s), f"model.init={model}"]
    settings = [*begun, "fit.epochs=0", f"model.context={str(context).lower()}"]
    result = train(patches, read_config(None, [*settings, "context.steps=0"]), tmp_path / "second")
    before, after = logits_of(run), logits_of(tmp_path / "second")
    np.testing.assert_allclose([after[k] for k in before], list(before.values()), atol=1e-4)
    first = json.loads((run / "run.json").read_text())
    assert result["metrics"] == first["metrics"]
    assert result["halo"] == first["halo"] == (7 if context else 0)
    made = package_run(tmp_path / "second", tmp_path / "second-model")
    assert made.description.startswith("model 1.0.0, trained further, on patches")
    # It was chosen on them.
    assert "from whose weights it began, had seen 3 of them" in (made.folder / "MODEL_CARD.md").read_text()
    if context:
        # Without the context, what goes on is the classifier under it.
        assert train(patches, read_config(None, [*begun, "fit.epochs=1"]), tmp_path / "third")["halo"] == 0


def test_with_context_the_package_computes_what_was_measured(patches, with_context):
    run, model = with_context
    package = load_package(model)
    assert package.halo == 7
    assert package.metrics["val"]["auc"]["value"] > 0.5
    assert {"val_lone_patches", "val_patch_network"} <= set(package.metrics)
    expected = logits_of(run)
    val = val_patches(patches)
    for name in ("onnx", "keras", "openvino"):
        predictor = Predictor(package, ENGINES[name](package))
        for patient, grid in place_patches(val, 16).items():
            pixels = np.concatenate([np.concatenate([read_patch(val[n].path) for n in row], 1) for row in grid])
            logits = predictor.logits(predictor.features(pixels, grid >= 0))
            wanted = [expected[patient, val[n].x, val[n].y] for n in grid.ravel()]
            # The features of training were kept in 16 bits.
            np.testing.assert_allclose(logits.ravel(), wanted, rtol=1e-3, atol=2e-3, err_msg=name)


def test_patches_between_places_are_refused_for_a_context(patches, tmp_path):
    copy = shutil.copytree(patches, tmp_path / "patches")
    shutil.move(
        copy / "8865" / "0" / "8865_idx5_x49_y1_class0.png", copy / "8865" / "0" / "8865_idx5_x42_y1_class0.png"
    )
    with pytest.raises(DataError, match="1 of 64 patches are at the place of another"):
        train(copy, config(*CONTEXT), tmp_path / "run")


@pytest.mark.parametrize("architecture", ["residual_cnn", "efficientnet_lite0"])
def test_mixed_precision_leaves_a_network_in_float32(patches, tmp_path, architecture):
    options = {"residual_cnn": "widths = [4, 8]", "efficientnet_lite0": "blocks = 2"}[architecture]
    settings = [f"model.architecture={architecture}", f"model.options={{patch_size = 16, {options}}}"]
    train(patches, config(*settings, "fit.mixed_precision=true", "fit.epochs=1"), tmp_path / "run")
    model = keras.saving.load_model(tmp_path / "run" / "encoder.keras", compile=False)
    assert {v.dtype_policy.name for v in model.layers} <= {"float32", "uint8"}
    assert {v.dtype for v in model.weights} == {"float32"}
    val = val_patches(patches)
    logits = predict_logits(model, np.stack([read_patch(p.path) for p in val]))
    found = logits_of(tmp_path / "run")
    np.testing.assert_allclose(logits, [found[p.patient, p.x, p.y] for p in val], atol=1e-4)


def test_hidden_layers_of_nested_networks_are_in_bfloat16_meanwhile():
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)], name="backbone")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(1, name="logits", dtype="float32")(inner(inputs)))
    dense, logits = inner.layers[-1], model.get_layer("logits")
    values = np.full((1, 4), 1.001, np.float32)
    before = model.predict_on_batch(values)
    with training_run._precision(model, True):
        assert (dense.compute_dtype, logits.compute_dtype) == ("bfloat16", "float32")
        assert dense.kernel.dtype == "float32"
        model.make_predict_function(force=True)
        assert model.predict_on_batch(values) != before
    assert dense.compute_dtype == "float32"
    assert model.predict_on_batch(values) == before


def test_new_patients_are_split_before_they_are_trained_on(tmp_path):
    """What `data from-annotations` cuts is of patients that no list of the official split has."""
    data = tmp_path / "patches"
    write_patches(data, ["my-slide", "another"])
    way_out = f"wsi-idc data split {data} -o split --how random, then give --split split"
    for check in (check_parts, select_patches):
        with pytest.raises(DataError, match=f"has no validation patches in the split official: .*{way_out}"):
            check(data, DataConfig())
    write_split(tmp_path / "split", {"train": ["another"], "val": ["my-slide"], "test": []})
    check_parts(data, DataConfig(split=str(tmp_path / "split")))
    with pytest.raises(DataError, match="the split has no part trian"):
        select_patches(data, DataConfig(train=("trian",)))


def test_that_is_said_without_keras(tmp_path):
    write_patches(tmp_path / "patches", ["my-slide"])
    code = (
        "import sys; from wsi_idc.cli.group import main\n"
        f"try: main({[*['train', 'patches', '-o', 'run']]!r})\n"
        "except SystemExit: print(sorted({'keras', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n"
    assert "has no validation patches" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["patches"]
