"""Service calls as operations need them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from otp_server.api.batches import one_by_one, timely
from otp_server.api.operation import ApiError
from otp_server.errors import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio.testing import MockClock


async def double(number: int) -> int:
    if number < 0:
        raise ApiError(ErrorKind.NOT_FOUND)
    return 2 * number


async def test_one_refused_item_does_not_spoil_the_others() -> None:
    first, second, third = await one_by_one(double)([1, -1, 3])
    assert (first, third) == (2, 6)
    assert isinstance(second, ApiError)
    assert second.kind is ErrorKind.NOT_FOUND


async def test_a_bug_is_no_outcome() -> None:
    async def broken(_number: int) -> int:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await one_by_one(broken)([1])


async def test_a_late_call_is_told_for_each_item(autojump_clock: MockClock) -> None:
    async def slow(batch: Sequence[int]) -> list[int]:
        await trio.sleep(batch[0])
        return list(batch)

    late: list[bool] = []
    call = timely(slow, 5, ErrorKind.TIMEOUT, lambda: late.append(True))
    assert await call([4, 1]) == [4, 1]
    assert not late
    outcomes = await call([6, 1])
    assert [o.kind for o in outcomes if isinstance(o, ApiError)] == [ErrorKind.TIMEOUT] * 2
    assert len(late) == 2
