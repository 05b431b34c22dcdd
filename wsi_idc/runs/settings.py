"""What a run is asked for, and what it left; light, for a process that has others do the work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from wsi_idc.base.setting import read_toml, recorded, setting, settings_of
from wsi_idc.errors import SettingsError
from wsi_idc.regions.outlining import Outlining
from wsi_idc.slides.colour import CHOICES
from wsi_idc.slides.scale import PLAUSIBLE_MPP

if TYPE_CHECKING:
    from wsi_idc.models.package import ModelPackage


@dataclass(frozen=True, slots=True)
class Settings(Outlining):
    """How to run: each setting is written here, or in `Outlining`, and nowhere else.

    Options of the command line, the signature of `segment`, the check, the record in summary.json and the file of
    settings are made of these fields; see `base.setting`. Raises SettingsError for what cannot be meant.

    >>> import wsi_idc
    >>> wsi_idc.Settings(threshold=0.4).min_area_mm2, wsi_idc.Settings().stride
    (None, None)
    """

    min_tissue: float = setting(0.1, "Share of a patch that must be tissue.", low=0, high=1, open_low=True)
    mpp: float | None = setting(
        None,
        "Scale of level 0 in um per pixel, in place of what the file states.",
        unit="um per pixel",
        metavar="UM",
        low=PLAUSIBLE_MPP[0],
        high=PLAUSIBLE_MPP[1],
        without="what the file states",
    )
    mpp_missing: float | None = setting(
        None,
        "The same for slides only whose file states no scale, or none that can be true.",
        unit="um per pixel",
        metavar="UM",
        low=PLAUSIBLE_MPP[0],
        high=PLAUSIBLE_MPP[1],
        without="such slides are refused",
        # The scale that a slide gets by it is kept as its `mpp`.
        decides=False,
    )
    icc: str = setting(
        "ignore",
        "What to do with a colour profile (ICC) in the file: apply it, or leave colours as in training.",
        choices=CHOICES,
    )
    engine: str = setting(
        "auto",
        "What computes; auto takes what is done first on this machine.",
        choices=("auto", "onnx", "keras", "openvino", "openvino-bf16"),
    )
    tta: bool = setting(False, "See patches turned and flipped in all eight ways; eight times as long.")
    stride: int | None = setting(
        None,
        "Distance of patches in pixels of the model; half a patch is four times as long.",
        unit="pixels of the model",
        metavar="PX",
        low=1,
        without="a whole patch",
        of_model="patch_size",
    )
    overwrite: bool = setting(False, "Replace the results of another run.", decides=False)
    threads: int | None = setting(
        None,
        "Threads of a process that read, and as many that compute.",
        low=1,
        high=1024,
        option="",
        without="one for each core, at least 2",
        decides=False,
    )
    chunk: int = setting(
        16, "Side of what one task reads, in patches.", unit="patches", low=1, high=256, option="", decides=False
    )

    def __post_init__(self) -> None:
        """Check each setting, and those that are at odds with one another."""
        Outlining.__post_init__(self)
        if self.mpp is not None and self.mpp_missing is not None:
            raise SettingsError("mpp_missing: mpp holds for all slides already; give one of the two")

    def resolved(self, package: ModelPackage) -> Self:
        """Return the settings with what was left to the model filled in; raises SettingsError where they do not fit."""
        left = {n: s.of_model for n, s in settings_of(type(self)).items() if s.of_model and getattr(self, n) is None}
        found = replace(self, **{name: getattr(package, attribute) for name, attribute in left.items()})
        if package.patch_size % found.stride_of(package):
            fits = ", ".join(str(n) for n in range(package.patch_size, 0, -1) if package.patch_size % n == 0)
            raise SettingsError(
                f"stride = {self.stride}: does not divide the patches of {package.name}; give one of {fits}"
            )
        return found

    def parameters(self, package: ModelPackage) -> dict[str, Any]:
        """Return what, with the slide and the model, decides the result; raises SettingsError as `resolved`."""
        return recorded(self.resolved(package))

    def stride_of(self, package: ModelPackage) -> int:
        """Return the distance of patches in pixels of a model."""
        return self.stride or package.patch_size

    @property
    def n_threads(self) -> int:
        """The threads that read, and as many that compute, on the machine that asks."""
        if self.threads is not None:
            return self.threads
        # Counts the cores that a container may use; loaded when something is computed.
        from dask.system import CPU_COUNT

        return max(2, CPU_COUNT)

    @property
    def views(self) -> int:
        """How often each patch is looked at."""
        return 8 if self.tta else 1


def read_settings(file: Path | None = None, **given: Any) -> Settings:
    """Make settings of a TOML file, as `wsi-idc segment --print-config` prints it, and of those given, which win.

    Raises SettingsError for what is not known or cannot be meant.
    """
    return Settings(**((read_toml(file, Settings) if file else {}) | given))


@dataclass(frozen=True, slots=True)
class SegmentResult:
    """What a run left in `folder`; `summary` is the content of summary.json, `reused` says that it was there before.

    >>> import wsi_idc
    >>> result = wsi_idc.segment("slide.tif", "results")
    >>> result.reused, result.regions.name, result.summary["state"]
    (True, 'regions.geojson', 'done')
    """

    folder: Path
    summary: dict[str, Any]
    reused: bool = False

    @property
    def heatmap(self) -> Path:
        """The probability of each patch, OME-Zarr."""
        return self.folder / "heatmap.zarr"

    @property
    def regions(self) -> Path:
        """The regions, GeoJSON for QuPath."""
        return self.folder / "regions.geojson"

    @property
    def overview(self) -> Path:
        """The slide with its regions and heat colours, PNG."""
        return self.folder / "overview.png"
