"""What a peer must know of an installation to do all that ours does for a handshake.

    python -m bench.same_installation --config FILE --out FILE

Writes one JSON object, mode 0600: the ``scope`` that is asked for, the ``index_key`` of contacts,
the ``windows`` of the limits as pairs of a count and seconds, and the ``starts`` of the longest of
them, which are all of the type that ``bench.rest_installation`` starts. It may run beside the
server.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from bench.rest_installation import EMAIL_TYPE
from otp_server.clock import SteadyClock
from otp_server.config import load_config, resolve_keys
from otp_server.domain.client import Scope
from otp_server.services.start_journal import walk_starts
from otp_server.stores import open_store
from otp_server.telemetry import configure_logging

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.config import Config
    from otp_server.services.ports.processes import StartRecord

_INDEX_LABEL = b"otp-server/contact/index/v1"
"""As ``otp_server.services.contacts`` has it: with another the starts are of other contacts."""
_MS = 1000


async def described(config: Config) -> dict[str, Any]:
    """The installation of this configuration."""
    rest = config.rest
    windows = {
        "contact": rest.limits,
        "tenant": rest.starts_per_tenant,
        "everybody": rest.starts_in_all,
        "prefix": rest.prefix_limit,
        "calls": rest.requests_per_client,
    }
    asked = ("contact", "tenant", "everybody")
    longest_ms = max(period_s for name in asked for _, period_s in windows[name]) * _MS
    key = resolve_keys(config).contact[-1][1]
    starts: list[dict[str, Any]] = []

    def keep(page: Sequence[StartRecord]) -> int:
        starts.extend(
            {
                "tenant": start.tenant,
                "type": EMAIL_TYPE,
                "index": start.index.hex(),
                "at_ms": start.at_ms,
            }
            for start in page
        )
        return len(page)

    store = await open_store(config.store.url, config.server.data_dir)
    try:
        await walk_starts(store, SteadyClock().now_ms() - longest_ms, keep)
    finally:
        await store.aclose()
    return {
        "scope": Scope.RUN.value,
        "index_key": hmac.digest(key, _INDEX_LABEL, hashlib.sha256).hex(),
        "windows": windows,
        "starts": starts,
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    configure_logging("warning")
    whole = trio.run(described, load_config(arguments.config, os.environ))
    arguments.out.touch(mode=0o600)
    arguments.out.write_text(json.dumps(whole))


if __name__ == "__main__":
    main()
