from dataclasses import dataclass
from inspect import signature

import click
import pytest
from click.testing import CliRunner

import wsi_idc
from wsi_idc.base.setting import read_toml, setting, settings_of, takes_settings, to_toml
from wsi_idc.cli.group import main
from wsi_idc.cli.options import given, setting_options
from wsi_idc.errors import SettingsError
from wsi_idc.regions.outlining import Outlining
from wsi_idc.runs.settings import Settings, read_settings

from helpers import numpy_package


@dataclass(frozen=True, slots=True)
class More(Settings):
    """The settings and one more, written once."""

    glow: float = setting(0.5, "How it glows.", unit="lm", low=0, high=1, open_high=True)


def test_a_setting_that_is_written_once_is_found_in_all_places(tmp_path):
    @click.command()
    @setting_options(More)
    def command(**options):
        click.echo(repr(given(options)))

    helped = CliRunner().invoke(command, ["--help"]).output
    assert "--glow" in helped and "How it glows.  [default: 0.5]" in " ".join(helped.split()).replace(". [", ".  [")
    assert CliRunner().invoke(command, ["--glow", "0.25"]).output == "{'glow': 0.25}\n"
    assert CliRunner().invoke(command, ["--glow", "1"]).exit_code == 2

    @takes_settings(More)
    def function(**settings):
        """Take them."""

    assert signature(function).parameters["glow"].default == 0.5
    assert "glow: How it glows. Takes a number, at least 0 and below 1 (lm); 0.5 by default." in function.__doc__
    with pytest.raises(SettingsError, match=r"glow = 1: give a number, at least 0 and below 1 \(lm\)"):
        More(glow=1)
    assert More(glow=0.25).parameters(numpy_package())["glow"] == 0.25
    (tmp_path / "more.toml").write_text(text := to_toml(More(glow=0.25)))
    assert "# How it glows.\n" in text
    assert read_toml(tmp_path / "more.toml", More)["glow"] == 0.25


def test_every_setting_has_its_place_in_each_form():
    names = list(settings_of(Settings))
    assert [n for n in signature(wsi_idc.segment).parameters if n not in ("slide", "output", "model")] == names
    assert all(name in to_toml(Settings()) for name in names)
    options = {p.name for p in main.get_command(click.Context(main), "segment").params}
    assert {name for name, known in settings_of(Settings).items() if known.option} <= options
    assert set(settings_of(Outlining)) <= {p.name for p in main.get_command(click.Context(main), "delineate").params}


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 0.0},
        {"threshold": 1.0},
        {"min_tissue": 0},
        {"smooth_um": -1},
        {"chunk": 0},
        {"threads": 0},
        {"engine": "foo"},
        {"mpp": -3},
        {"stride": -7},
        {"bands": (0.5, 0.3)},
        {"low": 0.6, "threshold": 0.5},
        {"low": 0.99},
        {"stride": 30},
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused_before_anything_is_done(tmp_path, wrong):
    """Even the slide is not looked for."""
    name, _ = next(iter(wrong.items()))
    with pytest.raises(SettingsError, match=f"^{name} = ") as error:
        wsi_idc.segment(tmp_path / "no slide.svs", tmp_path / "out", **wrong)
    assert isinstance(error.value, ValueError)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_the_record_has_the_values_of_the_model_where_nothing_was_said():
    package = numpy_package(threshold=0.4)
    recorded = Settings(bands=[0.2, 0.6], min_area_mm2=1).parameters(package)
    assert (
        recorded.items()
        >= {
            "threshold": 0.4,
            "low": None,
            "min_area_mm2": 1.0,
            "min_hole_mm2": 0.0,
            "smooth_um": 5.0,
            "min_tissue": 0.1,
            "mpp": None,
            "engine": "auto",
            "tta": False,
            "stride": 50,
        }.items()
    )
    assert recorded["bands"] == [0.2, 0.6]
    assert Settings().parameters(package)["min_area_mm2"] == 0.04, "a patch of 50 px at 4 um"
    assert not {"overwrite", "threads", "chunk"} & set(recorded)
    with pytest.raises(SettingsError, match=r"low = 0\.5: is above the threshold; give at most the threshold, 0\.4"):
        Settings(low=0.5).parameters(package)
    with pytest.raises(SettingsError, match=r"stride = 30: does not divide .*; give one of 50, 25, 10, 5, 2, 1"):
        Settings(stride=30).parameters(package)


def test_what_is_given_wins_over_the_file(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text('threshold = 0.3\nengine = "onnx"\ntta = true\n')
    assert read_settings(file, threshold=0.6, tta=False) == Settings(threshold=0.6, engine="onnx")
    assert read_settings() == Settings()
