"""Random histories: the fake and SQLite give the same answers to the same operations.

The universe is tiny (4 devices, 5 digests, 12 instants around one lifetime), so that collisions,
expiry, supersession, links and forgetting all happen in a few steps.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from otp_server.errors import OtpServerError
from otp_server.stores import open_store
from tests.contracts.samples import (
    TTL,
    accept,
    challenge,
    device,
    digest,
    find,
    guess,
    key_of,
    new_code,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.services.ports import Store

    Step = tuple[str, Sequence[int]]

WORDS = (
    "issue issue issue crowd guess accept accept org-accept add add"
    " revoke feed void live sweep forget guesses list"
)
DEVICES, DIGESTS, ORGS = 4, 5, 2

small = st.integers(0, 11)
step: st.SearchStrategy[Step] = st.tuples(
    st.sampled_from(WORDS.split()),
    st.lists(small, min_size=6, max_size=6),
)


def at(n: int) -> int:
    """Twelve instants over two lifetimes, the boundaries among them."""
    return n * TTL // 6


async def play(store: Store, step: Step, serial: int) -> object:  # noqa: C901, PLR0911, PLR0912
    word, (a, b, c, d, e, f) = step
    match word:
        case "issue":
            first = new_code(serial, a % DEVICES, [[b % DIGESTS, c % DIGESTS]], at=at(f))
            more = new_code(serial + 500, d % (DEVICES + 1), [[e % DIGESTS], [b % DIGESTS]])
            return await store.issue_device_codes([first, more] if c % 2 else [first])
        case "crowd":
            crowd = [
                new_code(serial + 1000 * (n + 1), x % DEVICES, [[x % DIGESTS]], at=at(f))
                for n, x in enumerate((a, b, c, d, e))
            ]
            return await store.issue_device_codes(crowd)
        case "guess":
            wanted = [digest(b % DIGESTS), digest(c % DIGESTS)]
            return await store.count_guesses([(guess(a, at=at(f), org_id=d or None), wanted)])
        case "accept":
            ids = [serial - a - 1, serial - b - 1 + 500]
            wishes = [accept(max(n, 0), guess_n=c, at=at(f)) for n in ids]
            return await store.accept_device_codes(wishes)
        case "org-accept":
            ids = [serial - a - 1, serial - b - 1]
            wishes = [
                accept(max(n, 0), guess_n=c, at=at(f), org_id=1 + (d + i) % ORGS)
                for i, n in enumerate(ids)
            ]
            return await store.accept_device_codes(wishes)
        case "add":
            return await store.add_device(device(a % DEVICES, at=b))
        case "revoke":
            return await store.revoke_device(f"device-{a % (DEVICES + 1)}", at(f))
        case "feed":
            return await store.revocations_since(a)
        case "void":
            ids = [serial - a - 1, serial - b - 1]
            return await store.void_device_codes([challenge(max(n, 0)) for n in ids], at(f))
        case "live":
            return await store.live_device_codes(at(f))
        case "sweep":
            return await store.sweep(at(f), forget_before_ms=-1, guesses_before_ms=at(a))
        case "forget":
            return await store.sweep(at(f), forget_before_ms=at(a), guesses_before_ms=-1)
        case "guesses":
            return await store.guesses_since(at(a))
        case _:
            return await store.list_devices()


async def answers(store: Store, history: Sequence[Step]) -> list[object]:
    """What it says to each step, and what it holds in the end."""
    seen: list[object] = [
        await store.add_organisation(f"org {n}", key_of(str(n)), n) for n in range(ORGS)
    ]
    seen += [await store.add_device(device(n, at=n)) for n in range(2)]
    for serial, each in enumerate(history, start=1):
        try:
            seen.append(await play(store, each, serial))
        except OtpServerError as error:
            seen.append((type(error), str(error)))
    seen += [await store.guesses_since(-1), await store.list_devices()]
    seen += [await store.revocations_since(0), await store.live_device_codes(0)]
    return seen + [await find(store, n) for n in range(DIGESTS)]


async def both(history: Sequence[Step]) -> tuple[list[object], list[object]]:
    with tempfile.TemporaryDirectory() as folder, trio.fail_after(30):
        said = []
        for url in ("memory:", "sqlite:otp.db"):
            store = await open_store(url, Path(folder))
            said.append(await answers(store, history))
            await store.aclose()
    return said[0], said[1]


@settings(max_examples=60, deadline=None)
@given(st.lists(step, min_size=1, max_size=40))
def test_the_fake_and_sqlite_agree(history: list[Step]) -> None:
    fake, real = trio.run(both, history)
    assert fake == real
