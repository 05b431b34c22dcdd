"""What a run is asked for, and what it left; light, for a process that has others do the work."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dask.system import CPU_COUNT

from wsi_idc.errors import ModelError
from wsi_idc.models.package import ModelPackage
from wsi_idc.regions.outlining import Outlining

# Called after each chunk with the number of patches computed in it.
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """How to run; the fields of `parameters()` decide the result, the others only how it is reached.

    `threshold` None means the model's own; for it and the four after it see `outlining.Outlining`. `bands` are
    probabilities, rising, between which bands are outlined too. `mpp` in um per level-0 pixel overrides the slide's
    claim. `min_tissue` is the share of a patch that must be tissue for it to be computed. With `tta` (test-time
    augmentation) patches are seen turned and flipped in all eight ways, and their logits averaged. `stride`, in pixels
    of the model, is how far apart patches are; below the size of a patch they overlap, see `overlap.merge`. `chunk` is
    in patches a side.
    """

    threshold: float | None = None
    low: float | None = None
    min_area_mm2: float = 0.0
    min_hole_mm2: float = 0.0
    smooth_um: float = 5.0
    bands: tuple[float, ...] = ()
    min_tissue: float = 0.1
    mpp: float | None = None
    engine: str = "auto"
    tta: bool = False
    stride: int | None = None
    overwrite: bool = False
    workers: int = max(2, CPU_COUNT)
    chunk: int = 16

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant, with ValueError."""
        for name, value in (("threshold", self.threshold), ("low", self.low), *(("bands", b) for b in self.bands)):
            if value is not None and not 0 < value < 1:
                raise ValueError(f"{name} {value} is not between 0 and 1")
        if list(self.bands) != sorted(set(self.bands)):
            raise ValueError(f"bands {self.bands} do not rise")
        if not 0 < self.min_tissue <= 1:
            raise ValueError(f"min_tissue {self.min_tissue} is not above 0 and at most 1")
        for name in ("min_area_mm2", "min_hole_mm2", "smooth_um"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} {getattr(self, name)} is not a length or area")

    def parameters(self, package: ModelPackage) -> dict[str, Any]:
        """Return what, with the slide and the model, decides the result."""
        return {
            **asdict(self.outlining(package)),
            "bands": list(self.bands),
            "min_tissue": self.min_tissue,
            "mpp": self.mpp,
            "engine": self.engine,
            "tta": self.tta,
            "stride": self.stride_of(package),
        }

    def outlining(self, package: ModelPackage) -> Outlining:
        """Return how regions are made of the probabilities of a model."""
        threshold = package.threshold if self.threshold is None else self.threshold
        return Outlining(threshold, self.low, self.min_area_mm2, self.min_hole_mm2, self.smooth_um)

    def stride_of(self, package: ModelPackage) -> int:
        """Return the distance of patches in pixels of a model; raises ModelError where patches cannot have it."""
        size = package.patch_size
        if self.stride is not None and (self.stride < 1 or size % self.stride):
            fits = ", ".join(str(n) for n in range(size, 0, -1) if size % n == 0)
            raise ModelError(
                f"a stride of {self.stride} px does not divide the patches of {package.name}; give one of {fits}"
            )
        return self.stride or size

    @property
    def views(self) -> int:
        """How often each patch is looked at."""
        return 8 if self.tta else 1


@dataclass(frozen=True, slots=True)
class SegmentResult:
    """What a run left in `folder`; `summary` is the content of summary.json, `reused` says that it was there before."""

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
