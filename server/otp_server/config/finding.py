"""A problem between keys, as the checks find it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem between keys: every path that was read for it, the first is to blame."""

    paths: tuple[str, ...]
    reason: str
    mend: str
    place: str = ""

    @property
    def where(self) -> str:
        """The path to blame, with its place in a list."""
        return self.paths[0] + self.place
