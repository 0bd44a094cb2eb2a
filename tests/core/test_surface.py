"""The door is complete: what the extension exports is what ``otp_server.core`` names."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

import pytest

from otp_server import core
from otp_server.core import _native
from otp_server.errors import CoreBug

ROOT = Path(__file__).resolve().parents[2]


def test_the_door_names_everything_and_nothing_else() -> None:
    exported = {name for name in dir(_native) if not name.startswith("_")} - {"ERROR_KINDS"}
    assert set(core.__all__) == exported | {"__version__"}
    assert set(_native.__all__) == exported | {"ERROR_KINDS", "__version__"}
    assert core.__all__ == sorted(core.__all__)


def test_the_version_is_the_crates() -> None:
    manifest = tomllib.loads((ROOT / "otp_core_rs" / "Cargo.toml").read_text("utf-8"))
    assert _native.__version__ == manifest["package"]["version"]
    assert importlib.metadata.version("otp-server") == _native.__version__


def test_classes_are_final_and_name_their_module() -> None:
    for name in core.__all__:
        thing = getattr(core, name)
        if isinstance(thing, type):
            assert thing.__module__ == _native.__name__
            assert thing.__doc__
            try:
                type("Sub", (thing,), {})
            except TypeError:
                continue
            raise AssertionError(f"{name} can be subclassed")


def test_a_panic_of_the_core_is_an_exception_like_others() -> None:
    """Requirement 91: PyO3's own PanicException would pass every last-resort handler."""
    with pytest.raises(CoreBug):
        core.panic_on_purpose()
