"""Service calls as an operation needs them: batch in, batch out."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio

from otp_server.api.operation import ApiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from otp_server.errors import ErrorKind

C = TypeVar("C")
O = TypeVar("O")  # noqa: E741 - an outcome


def one_by_one(
    answer: Callable[[C], Awaitable[O]],
) -> Callable[[Sequence[C]], Awaitable[list[O | ApiError]]]:
    """The batch call of something that is not hot: each item alone, its ApiError its outcome."""

    async def call(batch: Sequence[C]) -> list[O | ApiError]:
        outcomes: list[O | ApiError] = []
        for command in batch:
            try:
                outcomes.append(await answer(command))
            except ApiError as error:
                outcomes.append(error)
        return outcomes

    return call


def timely(
    call: Callable[[Sequence[C]], Awaitable[Sequence[O | ApiError]]],
    within_s: float,
    late: ErrorKind,
    on_late: Callable[[], None] | None = None,
) -> Callable[[Sequence[C]], Awaitable[Sequence[O | ApiError]]]:
    """The call under one deadline; when it has passed, every item of the batch is ``late``.

    What was begun ends as the service says of a cancelled call. ``on_late`` is called for each.
    """

    async def answer(batch: Sequence[C]) -> Sequence[O | ApiError]:
        with trio.move_on_after(within_s):
            return await call(batch)
        if on_late is not None:
            for _ in batch:
                on_late()
        return [ApiError(late) for _ in batch]

    return answer
