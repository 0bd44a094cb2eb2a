"""Random values: each once, whoever takes them."""

from __future__ import annotations

import threading

from otp_server.domain.draws import Draws

SIZE = 16
EACH = 2000
THREADS = 8


def test_values_have_their_size_and_differ() -> None:
    draws = Draws(SIZE)
    taken = [draws.take() for _ in range(EACH)]
    assert {len(value) for value in taken} == {SIZE}
    assert len(set(taken)) == EACH


def test_no_value_goes_to_two_threads() -> None:
    draws, taken = Draws(SIZE), [list[bytes]() for _ in range(THREADS)]
    begin = threading.Barrier(THREADS)

    def take(mine: list[bytes]) -> None:
        begin.wait(10)
        mine += [draws.take() for _ in range(EACH)]

    threads = [threading.Thread(target=take, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len({value for mine in taken for value in mine}) == THREADS * EACH
