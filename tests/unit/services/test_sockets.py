"""Sockets of sessions, and one-time tokens (requirements 28, 29)."""

from __future__ import annotations

import re

import pytest

from otp_server.domain.account import digest_of
from otp_server.services.sockets import (
    TOKEN_LIFE_S,
    TOKENS_MAX,
    TOKENS_PER_SESSION_MAX,
    SocketRegistry,
)

ONE, OTHER, NEW = (digest_of(name) for name in ("one", "other", "new"))


class Socket:
    """A socket that counts how often it was ended, unbound by then."""

    def __init__(self, sockets: SocketRegistry, digest: bytes) -> None:
        self.ended = 0
        self._sockets = sockets
        self.id = sockets.bind(digest, self.end)

    def end(self) -> None:
        self.ended += self._sockets.session_of(self.id) is None


# --- tokens ---------------------------------------------------------------------------------------


def test_a_token_is_good_once() -> None:
    sockets = SocketRegistry()
    token = sockets.grant(ONE, 0)
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", token)
    assert sockets.redeem("x" + token, 1) is None
    assert sockets.redeem("\ud800", 1) is None
    assert sockets.redeem(token, 1) == ONE
    assert sockets.redeem(token, 1) is None


def test_a_token_is_good_for_its_time() -> None:
    sockets = SocketRegistry()
    early, late = sockets.grant(ONE, 100), sockets.grant(ONE, 100)
    assert sockets.redeem(early, 100 + TOKEN_LIFE_S - 0.001) == ONE
    assert sockets.redeem(late, 100 + TOKEN_LIFE_S) is None
    assert sockets.redeem(late, 100) is None  # it was used up by the try


def test_a_session_has_a_few_tokens_the_newest() -> None:
    sockets = SocketRegistry()
    others = sockets.grant(OTHER, 0)
    tokens = [sockets.grant(ONE, 0) for _ in range(TOKENS_PER_SESSION_MAX + 2)]
    assert [sockets.redeem(token, 0) for token in tokens] == [
        None,
        None,
        *[ONE] * TOKENS_PER_SESSION_MAX,
    ]
    assert sockets.redeem(others, 0) == OTHER


def test_tokens_are_bounded_and_the_oldest_goes() -> None:
    sockets = SocketRegistry()
    first = sockets.grant(ONE, 0)
    second = sockets.grant(OTHER, 0)
    for i in range(TOKENS_MAX - 1):
        last = sockets.grant(digest_of(str(i)), 0)
    assert len(sockets._grants) == len(sockets._granted) == TOKENS_MAX
    assert sockets.redeem(first, 0) is None
    assert sockets.redeem(second, 0) == OTHER
    assert sockets.redeem(last, 0) is not None


def test_late_tokens_are_forgotten() -> None:
    sockets = SocketRegistry()
    for i in range(10):
        sockets.grant(digest_of(str(i)), 0)
    sockets.grant(ONE, TOKEN_LIFE_S)
    assert len(sockets._grants) == len(sockets._granted) == 1


# --- sockets --------------------------------------------------------------------------------------


def test_a_socket_is_bound_to_its_session_alone() -> None:
    sockets = SocketRegistry()
    one, second, other = (Socket(sockets, digest) for digest in (ONE, ONE, OTHER))
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", one.id)
    assert len({one.id, second.id, other.id}) == sockets.count == 3
    assert sockets.is_bound(one.id, ONE)
    assert sockets.is_bound(second.id, ONE)
    assert sockets.session_of(other.id) == OTHER
    assert not sockets.is_bound(one.id, OTHER)
    assert not sockets.is_bound(other.id, ONE)
    for nonsense in ("", "x" * 10_000, one.id[:-1], one.id + "=", "\ud800"):
        assert not sockets.is_bound(nonsense, ONE)
        assert sockets.session_of(nonsense) is None


def test_a_closed_socket_is_not_bound() -> None:
    sockets = SocketRegistry()
    one, second = Socket(sockets, ONE), Socket(sockets, ONE)
    sockets.unbind(one.id)
    sockets.unbind(one.id)
    assert not sockets.is_bound(one.id, ONE)
    assert sockets.is_bound(second.id, ONE)
    sockets.end([ONE])
    assert (one.ended, second.ended) == (0, 1)
    assert (sockets.count, sockets._of_session) == (0, {})


def test_the_end_of_sessions_ends_their_sockets_and_tokens() -> None:
    sockets = SocketRegistry()
    tokens = [sockets.grant(digest, 0) for digest in (ONE, OTHER)]
    ended = [Socket(sockets, ONE), Socket(sockets, ONE), Socket(sockets, NEW)]
    kept = Socket(sockets, OTHER)
    sockets.end([ONE, NEW, digest_of("nobody")])
    sockets.end([ONE])
    assert [socket.ended for socket in ended] == [1, 1, 1]
    assert not any(sockets.is_bound(socket.id, ONE) for socket in ended)
    assert (kept.ended, sockets.count) == (0, 1)
    assert [sockets.redeem(token, 1) for token in tokens] == [None, OTHER]


def test_one_socket_that_cannot_be_ended_keeps_no_other_alive() -> None:
    sockets = SocketRegistry()

    def fail() -> None:
        raise ZeroDivisionError

    before = Socket(sockets, ONE)
    sockets.bind(ONE, fail)
    after = Socket(sockets, ONE)
    sockets.end([ONE])
    assert (before.ended, after.ended, sockets.count) == (1, 1, 0)


def test_the_callers_socket_follows_a_sign_in_and_nothing_else_of_the_session_does() -> None:
    sockets = SocketRegistry()
    token = sockets.grant(ONE, 0)
    moved, tab, there, other = (Socket(sockets, digest) for digest in (ONE, ONE, NEW, OTHER))
    sockets.move(ONE, NEW, moved.id)
    sockets.move(digest_of("nobody"), digest_of("nobody else"), None)
    assert (moved.ended, tab.ended, sockets.session_of(tab.id)) == (0, 1, None)
    assert sockets.is_bound(moved.id, NEW)
    assert sockets.is_bound(there.id, NEW)
    assert not sockets.is_bound(moved.id, ONE)
    assert sockets.is_bound(other.id, OTHER)
    assert sockets.redeem(token, 0) is None
    sockets.end([ONE])
    assert moved.ended == 0
    sockets.end([NEW])
    assert (moved.ended, there.ended, other.ended) == (1, 1, 0)
    assert set(sockets._of_session) == {OTHER}


@pytest.mark.parametrize("named", [None, "", "x" * 22, "another's"])
def test_a_sign_in_that_names_no_socket_of_its_session_moves_none(named: str | None) -> None:
    sockets = SocketRegistry()
    mine, other = Socket(sockets, ONE), Socket(sockets, OTHER)
    sockets.move(ONE, NEW, other.id if named == "another's" else named)
    assert (mine.ended, other.ended) == (1, 0)
    assert sockets.is_bound(other.id, OTHER)
    assert set(sockets._of_session) == {OTHER}
