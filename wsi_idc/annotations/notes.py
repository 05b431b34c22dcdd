"""What is to be told of single objects: of each kind the first few by name, then a count."""

from __future__ import annotations

from collections import Counter

# Of each kind as many are named.
FIRST = 10


class Notes:
    """Lines in the order in which they are added, as few as a reader will read."""

    def __init__(self) -> None:
        """Begin without any."""
        self._lines: list[str] = []
        self._counts: Counter[str] = Counter()

    def add(self, kind: str, text: str) -> None:
        """Add a line; of a kind of which `FIRST` are there already it is only counted."""
        self._counts[kind] += 1
        if self._counts[kind] <= FIRST:
            self._lines.append(text)

    def lines(self) -> list[str]:
        """Return the lines, and behind them one for each kind that has more."""
        more = {kind: count - FIRST for kind, count in self._counts.items() if count > FIRST}
        return [*self._lines, *(f"and {count:,} more objects: {kind}" for kind, count in more.items())]
