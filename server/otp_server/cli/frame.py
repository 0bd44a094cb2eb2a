"""What all verbs share: their arguments, their answers, the installation they open."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
import trio
from cyclopts import Parameter

from otp_server.config import load_config
from otp_server.errors import OtpServerError
from otp_server.registry import is_installed, open_installation
from otp_server.telemetry import configure_logging

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from otp_server.config import Config
    from otp_server.registry import Installation

T = TypeVar("T")

ConfigFile = Annotated[
    Path | None, Parameter("--config", help="The TOML file; without one, development defaults.")
]
AsJson = Annotated[bool, Parameter("--json", negative=(), help="Print one JSON object.")]
Tenant = Annotated[str, Parameter(help="Whose it is; tenants see only their own.")]


def show(answer: object, as_json: bool, text: str) -> None:  # noqa: FBT001 - straight from a flag
    """Print an answer: as JSON, or in words."""
    print(msgspec.json.encode(answer).decode() if as_json else text, flush=True)


def with_installation(
    config: Path | None, use: Callable[[Installation], Awaitable[T]], *, new: bool
) -> T:
    """Open the installation, use it, close it.

    ``new`` lets the command be the first of an installation; otherwise one must be there, so that
    a command in the wrong folder does not make an empty one and answer from it.
    """
    loaded = load_config(config, os.environ)
    configure_logging("warning")
    if not is_installed(loaded):
        where = loaded.server.data_dir
        if not new:
            raise OtpServerError(
                f"there is no installation in {where}: name its --config, or start it once"
            )
        print(f"otp-server: a new installation in {where}", file=sys.stderr)
    return trio.run(_use, loaded, use)


async def _use(config: Config, use: Callable[[Installation], Awaitable[T]]) -> T:
    async with open_installation(config) as installation:
        return await use(installation)
