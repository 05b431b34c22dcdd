"""How far a stage is."""

from __future__ import annotations

from collections.abc import Callable

# Called after each chunk with the number of patches computed in it.
Progress = Callable[[int], None]
