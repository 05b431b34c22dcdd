from dataclasses import dataclass, fields
from inspect import signature

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_idc.base.setting import check, read_toml, recorded, setting, settings_of, takes_settings, to_toml
from wsi_idc.errors import SettingsError


@dataclass(frozen=True)
class Kinds:
    """One setting of each kind."""

    share: float = setting(0.5, "A share.", low=0, high=1, open_low=True)
    size: int | None = setting(None, "A size.", unit="px", low=1, without="that of the file")
    name: str = setting("a", "A name.", choices=("a", "b"))
    on: bool = setting(False, "A switch.", decides=False)
    steps: tuple[float, ...] = setting((), "Steps.", low=0, high=1)

    def __post_init__(self):
        check(self)


def test_what_is_known_of_a_setting_comes_from_its_field():
    known = settings_of(Kinds)
    assert list(known) == [f.name for f in fields(Kinds)]
    assert [s.kind for s in known.values()] == [float, int, str, bool, tuple]
    assert [s.optional for s in known.values()] == [False, True, False, False, False]
    assert [s.option for s in known.values()] == ["--share", "--size", "--name", "--on", "--steps"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"share": 0}, "share = 0: give a number, above 0 and at most 1"),
        ({"share": float("nan")}, "share = nan: give a number, above 0 and at most 1"),
        ({"share": "much"}, "share = 'much': give a number, above 0 and at most 1"),
        ({"share": None}, "share = None: give a number, above 0 and at most 1"),
        ({"share": 10**400}, f"share = {10**400}: give a number, above 0 and at most 1"),
        ({"size": 0}, "size = 0: give a whole number, at least 1 (px)"),
        ({"size": 1.5}, "size = 1.5: give a whole number, at least 1 (px)"),
        ({"size": True}, "size = True: give a whole number, at least 1 (px)"),
        ({"name": "c"}, "name = 'c': give one of a, b"),
        ({"on": 1}, "on = 1: give true or false"),
        ({"steps": (0.5, 0.5)}, "steps = (0.5, 0.5): give numbers at least 0 and at most 1 that rise"),
        ({"steps": (0.5, 2)}, "steps = (0.5, 2): give numbers at least 0 and at most 1 that rise"),
        ({"steps": "0.5"}, "steps = '0.5': give numbers at least 0 and at most 1 that rise"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_name_value_and_bounds(wrong, said):
    with pytest.raises(SettingsError) as error:
        Kinds(**wrong)
    assert str(error.value).startswith(said)
    assert isinstance(error.value, ValueError)


def test_values_become_what_json_and_toml_hold():
    made = Kinds(share=np.float32(0.25), size=np.int64(3), steps=[0, np.float64(0.5)])
    assert recorded(made) == {"share": 0.25, "size": 3, "name": "a", "steps": [0.0, 0.5]}
    assert [type(getattr(made, name)) for name in ("share", "size", "steps")] == [float, int, tuple]


@given(
    st.builds(
        Kinds,
        share=st.floats(0, 1, exclude_min=True),
        size=st.none() | st.integers(1),
        name=st.sampled_from("ab"),
        on=st.booleans(),
        steps=st.lists(st.floats(0, 1), unique=True).map(sorted),
    )
)
def test_what_is_written_as_toml_is_read_back(tmp_path_factory, made):
    path = tmp_path_factory.mktemp("toml") / "settings.toml"
    path.write_text(to_toml(made))
    assert Kinds(**read_toml(path, Kinds)) == made


def test_a_file_of_settings_that_does_not_do(tmp_path):
    path = tmp_path / "settings.toml"
    for text, said in {
        "sice = 3": r"no setting 'sice'; there are share, size",
        "size = 0": r"size = 0: give a whole number",
        "size =": r"is not TOML",
        "share = nan": r"share = nan: give a number",
    }.items():
        path.write_text(text)
        with pytest.raises(SettingsError, match=rf"settings\.toml: {said}"):
            read_toml(path, Kinds)
    with pytest.raises(SettingsError, match=r"gone\.toml: cannot be read"):
        read_toml(tmp_path / "gone.toml", Kinds)


def test_a_function_has_the_signature_and_the_help_of_its_settings():
    @takes_settings(Kinds)
    def made(path: str, **settings: object) -> Kinds:
        """Make them."""
        return Kinds(**settings)

    assert list(signature(made).parameters) == ["path", "share", "size", "name", "on", "steps"]
    assert signature(made).parameters["share"].default == 0.5
    assert "size: A size. Takes a whole number, at least 1 (px); that of the file by default." in made.__doc__
    assert made("x", share=1) == Kinds(share=1.0)
