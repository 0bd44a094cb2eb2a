"""Argon2id, a few at a time, and nobody's password at the same cost (requirement 27)."""

from __future__ import annotations

import threading

import argon2
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from otp_server.errors import Busy
from otp_server.services.passwords import AT_ONCE, WAITING_MAX, HashCost, PasswordHasher
from tests.support.account_world import CHEAP, PASSWORD, CountingHasher

RFC_9106_SECOND = argon2.profiles.RFC_9106_LOW_MEMORY


class Gated(CountingHasher):
    """Hashes end only when the gate opens; notes how many run at once."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.began = threading.Semaphore(0)
        self.running = 0
        self.running_max = 0
        self._lock = threading.Lock()

    def hash_now(self, password: str) -> str:
        with self._lock:
            self.running += 1
            self.running_max = max(self.running_max, self.running)
        self.began.release()
        assert self.gate.wait(60)
        with self._lock:
            self.running -= 1
        return super().hash_now(password)


async def test_the_cost_is_that_of_the_rfc() -> None:
    stored = await PasswordHasher().hash(PASSWORD)
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    found = argon2.extract_parameters(stored)
    assert (found.memory_cost, found.time_cost) == (
        RFC_9106_SECOND.memory_cost,
        RFC_9106_SECOND.time_cost,
    )
    assert (found.salt_len, found.hash_len) == (16, 32)


async def verify(hasher: PasswordHasher, stored: str | None, password: str) -> bool:
    with hasher.reserve() as place:
        return await place.verify(stored, password)


async def test_a_password_matches_its_own_hash_alone() -> None:
    hasher = PasswordHasher(CHEAP)
    stored = await hasher.hash(PASSWORD)
    assert PASSWORD not in stored
    assert await hasher.hash(PASSWORD) != stored  # salted
    assert await verify(hasher, stored, PASSWORD)
    for other in ("", PASSWORD + " ", PASSWORD.upper(), PASSWORD[:-1], "a" * 100_000):
        assert not await verify(hasher, stored, other)


async def test_nothing_is_cut_off() -> None:
    hasher = PasswordHasher(CHEAP)
    long = "x" * 127
    stored = await hasher.hash(long + "y")
    assert await verify(hasher, stored, long + "y")
    assert not await verify(hasher, stored, long + "z")
    assert not await verify(hasher, stored, long)
    nul = await hasher.hash("with\0nul 1")
    assert not await verify(hasher, nul, "with\0nul 2")


async def test_how_it_is_typed_makes_no_difference() -> None:
    hasher = PasswordHasher(CHEAP)
    stored = await hasher.hash("Caf\N{LATIN SMALL LETTER E WITH ACUTE} \ud800 nul")
    assert await verify(
        hasher, stored, "Cafe\N{COMBINING ACUTE ACCENT}\N{NO-BREAK SPACE}\ud800 nul"
    )


async def test_what_is_too_long_is_not_hashed() -> None:
    hasher = PasswordHasher(CHEAP)
    with pytest.raises(ValueError, match="too long"):
        await hasher.hash("a" * 129)


@pytest.mark.parametrize(
    "stored",
    [
        None,
        "",
        "plain text",
        "\ud800",
        "$argon2id$v=19$m=65536,t=3,p=1$",
        "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$###",
        "$argon2id$v=19$m=4294967295,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHQ",
        "$2b$12$C6UzMDM.H6dfI/f/IKcEeO",
    ],
)
async def test_nobodys_password_costs_as_much(
    stored: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasher = PasswordHasher(CHEAP)
    known = await hasher.hash(PASSWORD)
    costs: list[str] = []
    really = argon2.PasswordHasher.verify

    def noting(self: argon2.PasswordHasher, stored: str, password: bytes) -> bool:
        try:
            return really(self, stored, password)
        except argon2.exceptions.VerifyMismatchError:
            costs.append(stored.rsplit("$", 2)[0])
            raise

    monkeypatch.setattr(argon2.PasswordHasher, "verify", noting)
    assert not await verify(hasher, known, "wrong")
    assert not await verify(hasher, stored, PASSWORD)
    assert not await verify(hasher, stored, "")
    assert costs == [known.rsplit("$", 2)[0]] * 3


async def test_the_unknown_hash_has_the_cost_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = PasswordHasher(HashCost(passes=2, memory_kib=16))
    made = argon2.extract_parameters(hasher._nobodys)
    real = argon2.extract_parameters(await hasher.hash(PASSWORD))
    assert made == real
    assert PasswordHasher()._nobodys != PasswordHasher()._nobodys


async def test_a_few_at_a_time_and_a_bounded_queue() -> None:
    hasher = Gated()
    done: list[str] = []

    async def one() -> None:
        done.append(await hasher.hash(PASSWORD))

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE + WAITING_MAX - 1):
            nursery.start_soon(one)
        await wait_all_tasks_blocked()
        for _ in range(AT_ONCE):  # a blocked task's thread may not have begun yet
            assert await trio.to_thread.run_sync(hasher.began.acquire, True, 60)
        with hasher.reserve() as place:  # the last one
            with pytest.raises(Busy):
                await verify(hasher, None, PASSWORD)
            with pytest.raises(Busy):
                hasher.reserve().__enter__()
            hasher.gate.set()
            assert await place.verify(await place.hash(PASSWORD), PASSWORD)
    assert len(done) == AT_ONCE + WAITING_MAX - 1
    assert hasher.running_max == AT_ONCE
    assert await hasher.hash(PASSWORD)


async def test_who_leaves_gives_the_place_back() -> None:
    hasher = Gated()
    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(hasher.hash, PASSWORD)
        await wait_all_tasks_blocked()
        for _ in range(3):
            with trio.CancelScope() as scope:
                scope.cancel()
                async with trio.open_nursery() as waiting:
                    for _ in range(WAITING_MAX):
                        waiting.start_soon(hasher.hash, PASSWORD)
        hasher.gate.set()
    assert hasher.hashed == AT_ONCE
