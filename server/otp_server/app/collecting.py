"""How the interpreter's collector behaves while a server serves."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_COLLECT_AFTER = 5000
"""New objects that start a collection: more than a full batch of answers has at once."""


@contextmanager
def short_collections() -> Iterator[None]:
    """Inside, the collector passes over what is there already, and comes less often.

    A full collection goes through every object of every import, for tens of milliseconds; a batch
    of answers would start a small one several times, and find nothing.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
