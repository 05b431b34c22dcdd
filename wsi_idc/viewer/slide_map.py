"""The map of the pages: a slide in tiles with what lies on it; its browser code is in `js/`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nicegui.element import Element
from nicegui.elements import leaflet


class SlideMap(Element, component="js/slide_map.js", esm={"wsi-idc-viewer": "js"}):
    """A slide in tiles, with heat and regions.

    It tells `measured` the numbers of regions, `pointed` a place, `lengthened` what was measured by hand, `key` a key
    that is none of its own; and of what is edited `clicked` a place, `sketched` what was drawn, `reshaped` a corner.
    """

    def __init__(self, key: str, facts: dict[str, Any], threshold: float | None) -> None:
        """Show what the server has at `key`, by its facts; without a threshold there is no run."""
        super().__init__()
        self.add_resource(Path(leaflet.__file__).parent / "dist")
        self._props["address"] = f"/of/{key}"
        self._props["facts"] = facts
        self._props["threshold"] = threshold
        self.style("width: 100%; flex: 1 1 20rem; min-height: 20rem")
