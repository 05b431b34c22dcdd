"""What a training is made of: sections of a TOML file, checked, overridden from the command line, kept with the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from wsi_idc.base.inputs.toml import parse_toml, read_toml_file
from wsi_idc.errors import DataError


class _Section(BaseModel):
    """A key that does not exist is an error, not silently nothing, and so is true for 1 or "3" for 3."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


# Not strict: TOML has lists and no tuples; what is in them is checked as strictly as all else.
_Names = Annotated[tuple[str, ...], Field(strict=False)]
_Dilations = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False, min_length=1)]


class DataConfig(_Section):
    """Which patches: `split` is "official" or a folder written by `wsi-idc data split`."""

    split: str = "official"
    train: _Names = ("train", "unlisted")
    val: _Names = ("val",)
    # Decoded pixels are kept in a file on disk and paged in; "memory" holds all of them instead.
    cache: Literal["disk", "memory"] = "disk"


class ModelConfig(_Section):
    """Which network: a name in `wsi_idc.models.architectures`, and what its builder takes.

    `init` is a model package whose network training goes on with, in place of all three; `weights` are published ones,
    for architectures that have some. `context` adds a network that looks at neighbouring patches, on the features of
    the first one.
    """

    architecture: str = "residual_cnn"
    options: dict[str, Any] = {}
    weights: str = "none"
    init: str = ""
    context: bool = False

    @model_validator(mode="after")
    def _one_network(self) -> ModelConfig:
        if self.init and (self.options or self.weights != "none"):
            raise ValueError("init brings a network of its own; leave options and weights out, or init")
        return self


class AugmentConfig(_Section):
    """Changes of a patch that keep its label; each is drawn evenly within the amount given, 0 is none."""

    symmetries: bool = True
    rotation: float = Field(0.0, ge=0, le=180, description="degrees")
    zoom: float = Field(0.0, ge=0, lt=1, description="share of the side")
    shift: float = Field(0.0, ge=0, lt=1, description="share of the side")
    shear: float = Field(0.0, ge=0, lt=45, description="degrees")
    brightness: float = Field(0.0, ge=0, lt=1, description="share of full scale")
    contrast: float = Field(0.0, ge=0, lt=1, description="factors within this of 1")
    stain_scale: float = Field(0.25, ge=0, lt=1, description="factors of each stain within this of 1")
    stain_shift: float = Field(0.04, ge=0, lt=1, description="natural optical density")
    macenko: float = Field(0.0, ge=0, le=1, description="share of patches given the stains of another patient")


_Share = Annotated[float, Field(ge=0, le=1)]


class FormationConfig(_Section):
    """How pixels come about (optics, resampling, colour, codec): `share` of all patches are formed anew.

    Of these, the share that each key names is resampled, brought to a coarser scale and back, blurred or sharpened,
    given other tones, noise, or compressed; the keys behind it say how much at most. For the context network all
    patches of a section are formed alike, as a slide is compressed as a whole.
    """

    share: _Share = 0.0
    resample: _Share = 0.5
    scale: float = Field(0.1, ge=0, lt=0.15, description="the window is larger or smaller than the patch by this")
    coarser: _Share = 0.15
    blur: _Share = 0.4
    blur_px: float = Field(1.1, ge=0, description="deviation of the Gaussian")
    sharpen: _Share = 0.2
    sharpen_amount: float = Field(1.5, ge=0)
    tone: _Share = 0.7
    gamma: float = Field(0.2, ge=0, lt=1)
    gain: float = Field(0.13, ge=0, lt=1)
    white_point: float = Field(0.05, ge=0, lt=1)
    saturation: float = Field(0.35, ge=0, le=1)
    noise: _Share = 0.2
    noise_grey: float = Field(8.0, ge=0)
    jpeg: _Share = 0.5
    jpeg_quality: int = Field(40, ge=1, lt=98, description="lowest; the highest is 97")


class LossConfig(_Section):
    """Cross-entropy, or focal loss (Lin et al. 2017) with `gamma`; classes weighted as they come, or evenly.

    With `consistency`, a batch holds every patch in two forms, and the loss has that many times the divergence between
    what is said of the two (stability training, Zheng et al. 2016). With `soft_edges`, that share of the label of a
    patch is the mean label of the 3x3 patches around it, where these are known: outlines are coarse.
    """

    kind: Literal["crossentropy", "focal"] = "crossentropy"
    gamma: float = Field(2.0, ge=0)
    class_weights: Literal["none", "balanced"] = "none"
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    consistency: float = Field(0.0, ge=0)
    soft_edges: float = Field(0.0, ge=0, lt=1)


class OptimizerConfig(_Section):
    """How weights move. `average` is the momentum of a moving average of the weights, 0 for none.

    Schedules: cosine to zero over all epochs; step and plateau multiply by `factor` every `patience` epochs, or after
    `patience` epochs without a better validation loss; constant. All warm up over `warmup` epochs.
    """

    kind: Literal["adamw", "adagrad", "sgd"] = "adamw"
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(5e-3, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    schedule: Literal["cosine", "step", "plateau", "constant"] = "cosine"
    warmup: float = Field(1.0, ge=0, description="epochs")
    factor: float = Field(0.5, gt=0, lt=1)
    patience: int = Field(4, ge=1)
    average: float = Field(0.0, ge=0, lt=1)


class FitConfig(_Section):
    """How long. With `early_stopping` epochs without a better validation loss the training ends, and the weights of
    the best epoch are the result; with 0 it runs to the end, and the last weights are: nothing is chosen on val."""

    epochs: int = Field(12, ge=0)
    batch_size: int = Field(128, ge=1)
    seed: int = Field(1, ge=0)
    early_stopping: int = Field(0, ge=0)
    mixed_precision: bool = False


class ContextConfig(_Section):
    """How the context network is fitted: `steps` batches of windows of `side` patches, in `variants` views.

    It is the mean of `members`, each with a seed of its own. With 0 steps it stays as it is, which is of use with the
    context network of `model.init`. In a share `sparse` of the windows IDC patches of the section are taken out, a
    random part of them or all, from the window and from the mean of its slide: a slide need not hold cancer.
    """

    members: int = Field(1, ge=1)
    width: int = Field(64, ge=1)
    dilations: _Dilations = (1, 2, 4)
    dropout: float = Field(0.2, ge=0, lt=1)
    variants: int = Field(13, ge=1)
    steps: int = Field(500, ge=0)
    batch_size: int = Field(24, ge=1)
    side: int = Field(20, ge=2)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.02, ge=0)
    seed: int = Field(0, ge=0)
    sparse: float = Field(0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _within_a_package(self) -> ContextConfig:
        if sum(self.dilations) > 64:
            raise ValueError("dilations add up to more than the 64 patches that a model may look at")
        return self


class TrainConfig(_Section):
    """All of a training; its TOML file has a section for each field, every key optional."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    formation: FormationConfig = FormationConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    fit: FitConfig = FitConfig()
    context: ContextConfig = ContextConfig()

    @model_validator(mode="after")
    def _parts_apart(self) -> TrainConfig:
        if both := set(self.data.train) & set(self.data.val):
            raise ValueError(f"{', '.join(sorted(both))} cannot be train and val at once")
        return self

    def toml(self) -> str:
        """Write as TOML, every key spelled out."""
        return tomli_w.dumps(self.model_dump())


def read_config(file: Path | None = None, settings: Sequence[str] = ()) -> TrainConfig:
    """Read a TOML file and put `settings` ("section.key=value", the value as in TOML) over it.

    Raises DataError, naming the file and the key, for a key that does not exist or a value that does not fit.
    """
    sections: dict[str, Any] = {}
    if file:
        try:
            sections = read_toml_file(file)
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise DataError(f"{file}: is not TOML ({error})") from error
    values = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise DataError(f"{setting}: is no setting; give section.key=value")
        values[key.strip()] = _value(text.strip())
    return _validated(sections, values, str(file or "configuration"))


def override(config: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """Put `values`, by "section.key", over `config`; raises DataError as `read_config` does."""
    return _validated(config.model_dump(), values, "configuration")


def _validated(sections: dict[str, Any], values: Mapping[str, Any], source: str) -> TrainConfig:
    for path, value in values.items():
        *names, key = path.split(".")
        place = sections
        for name in names:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise DataError(f"{path}: {name} is no section")
        place[key] = value
    try:
        return TrainConfig.model_validate(sections)
    except ValidationError as error:
        raise DataError(f"{source}: {'; '.join(map(_fault, error.errors()))}") from error


def _value(text: str) -> Any:
    try:
        return parse_toml(f"value = {text}")["value"]
    except ValueError:
        return text  # A bare word is meant as a string.


def _fault(fault: Any) -> str:
    reason = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        section: Any = TrainConfig
        for name in fault["loc"][:-1]:
            section = section.model_fields[name].annotation
        reason = f"no such key; there are {', '.join(section.model_fields)}"
    return ": ".join(filter(None, [".".join(map(str, fault["loc"])), reason]))
