"""Our whole server for the REST benches: ``bench.harness``, and a planted regression on demand.

With ``BENCH_PLANT=1`` every operation does some useless work, so that the gate can be seen red.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from bench import harness
from otp_server.api.operation import Operation

if TYPE_CHECKING:
    from otp_server.api.operation import Request

_USELESS = 1_500_000
"""Bytes hashed for each request: more work than the bare handler has."""


def plant() -> None:
    """Make every operation of this process slower."""
    honest = Operation.begin

    def slow(operation: Operation[object, object], request: Request) -> object:
        hashlib.sha256(bytes(_USELESS)).digest()
        return honest(operation, request)

    Operation.begin = slow  # type: ignore[method-assign,assignment] # planted on purpose


if __name__ == "__main__":
    if os.environ.get("BENCH_PLANT"):
        plant()
    harness.main()
