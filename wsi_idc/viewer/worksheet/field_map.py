"""The map of the worksheet: fields and marks on their slide; its browser code is in `viewer/js/`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nicegui.element import Element
from nicegui.elements import leaflet

_JS = Path(__file__).parents[1] / "js"


class FieldMap(Element, component=_JS / "field_map.js", esm={"wsi-idc-viewer": str(_JS)}):
    """A slide in tiles with the fields of a worksheet.

    It tells `clicked` a place, `viewed` which view of how many of a field is seen, `key` a key that is none of its own.
    """

    def __init__(self, key: str, facts: dict[str, Any]) -> None:
        """Show what the server has at `key`, by its facts."""
        super().__init__()
        self.add_resource(Path(leaflet.__file__).parent / "dist")
        self._props["address"] = f"/of/{key}"
        self._props["facts"] = facts
        self.style("flex: 1 1 30rem; min-height: 24rem; height: 100%")
