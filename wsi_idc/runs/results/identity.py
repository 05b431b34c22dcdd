"""What makes two runs the same: the slide, the model, the settings, and the form of what they leave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wsi_idc.base.setting import settings_of
from wsi_idc.runs.settings import Settings

if TYPE_CHECKING:
    from wsi_idc.models.package import ModelPackage
    from wsi_idc.slides.slide import Slide

# Of the outputs of a run, as summary.json states it. To be raised by one with each change by which the same slide,
# model and settings give other results, or the same ones in another form: until then runs of older versions hold.
RESULT_FORMAT = 9


def identify(slide: Slide, package: ModelPackage, settings: Settings) -> dict[str, Any]:
    """Return what a run is known by, as summary.json holds it; raises SettingsError where the settings do not fit."""
    return {
        "slide_fingerprint": slide.fingerprint,
        "model_sha256": package.sha256,
        # A list may give the scale of each slide.
        "parameters": settings.parameters(package) | {"mpp": slide.given_mpp},
        "result_format": RESULT_FORMAT,
    }


def differences(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Say in which parts a run that was made differs from the one that is wanted, by their identities; [] for none.

    A setting that the run does not know, of an older version, differs where it is not at its default.
    """
    found = []
    if held.get("slide_fingerprint") != wanted["slide_fingerprint"]:
        found.append("another slide, or one whose file was changed")
    if held.get("model_sha256") != wanted["model_sha256"]:
        found.append("another model")
    if held.get("result_format") != wanted["result_format"]:
        of = f"result format {held['result_format']}" if "result_format" in held else "no result format stated"
        found.append(f"{of}, now {wanted['result_format']}")
    defaults = _defaults()
    asked = held.get("parameters", {})
    for name in dict.fromkeys([*wanted["parameters"], *asked]):
        before, now = (p.get(name, defaults.get(name)) for p in (asked, wanted["parameters"]))
        if before != now:
            found.append(f"{name} {shown(before)}, now {shown(now)}")
    return found


def made_by(summary: Mapping[str, Any]) -> str:
    """Return the model of the run that a summary is of, and those of its settings that may differ, in words.

    They are those that go by the model where they are not given, and what was not at its default. A scale that was
    given is the slide's own, and a warning.
    """
    defaults = _defaults()
    chosen = {k: v for k, v in summary["parameters"].items() if k != "mpp" and v != defaults.get(k)}
    words = [f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}" for name, value in chosen.items()]
    return ", ".join([f"{summary['model']['name']} {summary['model']['version']}", *words])


def said_of_mixed(made_by: Mapping[str, int], most: int | None = None) -> str:
    """Say that results are of more than one model, or of other settings, at `most` so many of these; "" of one.

    `made_by` counts the results of each, "" for those of versions that did not say.
    """
    if len(made_by) < 2:
        return ""
    often = Counter(made_by).most_common(most)
    each = "; ".join(f"{count} by {what or 'an older version, which did not say'}" for what, count in often)
    return f"results of different models or settings: {each}"


def _defaults() -> dict[str, Any]:
    """Return the default of each setting, as summary.json has it."""
    return {name: list(s.default) if s.default == () else s.default for name, s in settings_of(Settings).items()}


def shown(value: Any) -> str:
    """Return the value of a setting in words."""
    return "not given" if value is None else str(value)
