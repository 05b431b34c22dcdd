import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_idc.errors import DataError
from wsi_idc.training.config import TrainConfig, override, read_config

NAMES = st.lists(st.text("abc_", min_size=1), min_size=1, max_size=3).map(tuple)
SHARE = st.floats(0, 0.99)
OPTIONS = st.dictionaries(
    st.text(min_size=1), st.one_of(st.integers(-(2**40), 2**40), st.booleans(), st.text(), st.lists(st.integers(0, 9)))
)
CONFIGS = st.builds(
    dict,
    data=st.fixed_dictionaries(
        {}, optional={"split": st.text(), "train": NAMES.map(lambda n: tuple(f"t{v}" for v in n))}
    ),
    model=st.one_of(
        st.fixed_dictionaries({"options": OPTIONS, "weights": st.text()}, optional={"architecture": st.text()}),
        st.fixed_dictionaries({"init": st.text(min_size=1), "context": st.booleans()}),
    ),
    augment=st.fixed_dictionaries(
        {}, optional={"symmetries": st.booleans(), "rotation": st.floats(0, 180), "macenko": st.floats(0, 1)}
    ),
    formation=st.fixed_dictionaries(
        {}, optional={"share": SHARE, "blur_px": st.floats(0, 9), "jpeg_quality": st.integers(1, 97)}
    ),
    loss=st.fixed_dictionaries({}, optional={"kind": st.sampled_from(["crossentropy", "focal"]), "gamma": SHARE}),
    optimizer=st.fixed_dictionaries(
        {},
        optional={
            "learning_rate": st.floats(1e-300, 1e300),
            "schedule": st.sampled_from(["cosine", "step", "plateau", "constant"]),
            "average": SHARE,
        },
    ),
    fit=st.fixed_dictionaries({}, optional={"epochs": st.integers(0, 10**9), "mixed_precision": st.booleans()}),
    context=st.fixed_dictionaries(
        {}, optional={"dilations": st.lists(st.integers(1, 9), min_size=1, max_size=7).map(tuple), "dropout": SHARE}
    ),
)


@settings(max_examples=60)
@given(CONFIGS)
def test_written_as_toml_and_read_again_it_is_the_same(tmp_path_factory, sections):
    config = TrainConfig.model_validate(sections)
    file = tmp_path_factory.mktemp("config") / "config.toml"
    file.write_text(config.toml(), encoding="utf-8")
    assert read_config(file) == config
    sections = {"data", "model", "augment", "formation", "loss", "optimizer", "fit", "context"}
    assert set(tomllib.loads(config.toml())) == sections


def test_nothing_given_is_the_default_and_every_key_is_spelled_out(tmp_path):
    assert read_config() == TrainConfig()
    (tmp_path / "empty.toml").write_text("")
    assert read_config(tmp_path / "empty.toml") == TrainConfig()
    for name, section in tomllib.loads(TrainConfig().toml()).items():
        assert set(section) == set(type(getattr(TrainConfig(), name)).model_fields)


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[2] / "examples").glob("*.toml")), ids=lambda f: f.name)
def test_the_examples_are_valid(file):
    assert read_config(file) != TrainConfig()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[fit]\nepoch = 3", "fit.epoch: no such key; there are epochs, batch_size, seed, early_stopping"),
        (
            "[fitting]\nepochs = 3",
            "fitting: no such key; there are data, model, augment, formation, loss, optimizer, fit, context",
        ),
        ("[fit]\nepochs = 3.5", "fit.epochs: Input should be a valid integer"),
        ('[fit]\nepochs = "3"', "fit.epochs: Input should be a valid integer"),
        ("[fit]\nepochs = true", "fit.epochs: Input should be a valid integer"),
        ("[fit]\nepochs = -1", "fit.epochs: Input should be greater than or equal to 0"),
        ("[fit]\nmixed_precision = 1", "fit.mixed_precision: Input should be a valid boolean"),
        ("[optimizer]\nlearning_rate = 0", "optimizer.learning_rate: Input should be greater than 0"),
        ("[optimizer]\nlearning_rate = inf", "optimizer.learning_rate: Input should be a finite number"),
        ("[optimizer]\nlearning_rate = nan", "optimizer.learning_rate: Input should be a finite number"),
        ('[optimizer]\nkind = "adam"', "optimizer.kind: Input should be 'adamw', 'adagrad' or 'sgd'"),
        ("[data]\ntrain = [1]", "data.train.0: Input should be a valid string"),
        ('[data]\ntrain = "train"', "data.train: Input should be a valid tuple"),
        ("[augment]\nzoom = 1.0", "augment.zoom: Input should be less than 1"),
        ("[context]\ndilations = []", "context.dilations: "),
        ("[context]\ndilations = [0]", "context.dilations.0: Input should be greater than or equal to 1"),
        ("[context]\ndilations = [32, 33]", "context: dilations add up to more than the 64 patches"),
        ('[data]\nval = ["train"]', "train cannot be train and val at once"),
        ('[model]\ninit = "x"\nweights = "imagenet"', "model: init brings a network of its own"),
        ("fit = 3", "fit: Input should be a valid dictionary"),
        ("[fit\n", "is not TOML"),
        ("a = " + "[" * 3000, "is not TOML (nested too deeply)"),
        ("a = " + "1" * 5000, "is not TOML"),
    ],
)
def test_faults_are_named_with_file_and_key(tmp_path, text, fault):
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(DataError) as caught:
        read_config(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: {fault}")
    assert "\n" not in message


def test_all_faults_are_named_at_once(tmp_path):
    with pytest.raises(DataError, match=r"loss\.gamma: .*; fit\.epochs: "):
        read_config(None, ["fit.epochs=x", "loss.gamma=-1"])


def test_a_file_of_other_bytes_is_no_toml(tmp_path):
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"config\.toml: is not TOML"):
        read_config(tmp_path / "config.toml")


def test_settings_come_over_the_file(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("[fit]\nepochs = 3\nseed = 4\n[model]\noptions = { widths = [8] }\n")
    config = read_config(
        file,
        [
            "fit.epochs=5",
            "fit.epochs = 6",
            "optimizer.learning_rate=1",
            "model.architecture=cancernet",
            "data.split=/a folder/split",
            "data.val=['val', 'test']",
            "model.options.dropout=0.1",
            "augment.symmetries=false",
        ],
    )
    assert (config.fit.epochs, config.fit.seed) == (6, 4)
    assert config.optimizer.learning_rate == 1.0
    assert config.model.architecture == "cancernet"
    assert config.model.options == {"widths": [8], "dropout": 0.1}
    assert (config.data.split, config.data.val) == ("/a folder/split", ("val", "test"))
    assert config.augment.symmetries is False


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("fit.epochs", "fit.epochs: is no setting; give section.key=value"),
        ("epochs=3", "configuration: epochs: no such key; there are data, model"),
        ("fit.epochs=three", "configuration: fit.epochs: Input should be a valid integer"),
        ("fit.epochs.most=3", "configuration: fit.epochs: Input should be a valid integer"),
        ("fit=3", "configuration: fit: Input should be a valid dictionary"),
    ],
)
def test_settings_that_do_not_fit(setting, fault):
    with pytest.raises(DataError, match=f"^{fault}"):
        read_config(None, [setting])


def test_override_leaves_the_rest(tmp_path):
    base = read_config(None, ["fit.epochs=3", "context.dilations=[1,2]"])
    found = override(base, {"fit.seed": 9, "model.options.blocks": 4})
    assert (found.fit.epochs, found.fit.seed, found.context.dilations) == (3, 9, (1, 2))
    assert found.model.options == {"blocks": 4}
    assert base.model.options == {}, "the base stays what it was"
    with pytest.raises(DataError, match=r"fit\.epochs\.x: epochs is no section"):
        override(base, {"fit.epochs.x": 1})
