"""A value with other fields, whether it is a dataclass or a struct of msgspec."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def replace(value: T, **changes: Any) -> T:  # noqa: ANN401 - fields of any type
    """A copy with these fields instead."""
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, **changes)
    return dataclasses.replace(value, **changes)  # type: ignore[type-var] # it is one then
