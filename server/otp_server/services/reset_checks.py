"""``otp.verify``: whether a code is right. It stays good until it is used or its time is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otp_server.domain.account_outcome import CodeRight, WrongCode
from otp_server.domain.challenge_type import CodeType
from otp_server.domain.code_entry import parse_answer
from otp_server.services.ports.processes import Settled
from otp_server.services.reset_parts import NOT_CHECKED
from otp_server.services.reset_processes import CODE_LENGTH
from otp_server.services.store_wait import store_wait

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.account_outcome import CheckOutcome
    from otp_server.services.reset_attempts import Compared, Ends, Guess, ResetAttempts
    from otp_server.services.reset_calls import Check
    from otp_server.services.reset_reading import ResetReader


class ResetChecks:
    """Checks codes.

    Where accounts are not revealed none is looked for: to find one takes longer than to find none.
    """

    def __init__(self, reader: ResetReader, attempts: ResetAttempts, *, reveal: bool) -> None:
        self._reader = reader
        self._attempts = attempts
        self._reveal = reveal

    async def check_many(self, checks: Sequence[Check]) -> list[CheckOutcome]:
        """See :class:`otp_server.services.resets.ResetService`."""
        asked, refused = await self._reader.read_many(
            checks, failed=NOT_CHECKED, look_up=self._reveal
        )
        ends: Ends = {**refused}
        right: dict[int, CodeRight] = {}
        guesses = self._attempts.enter(asked, ends)
        try:
            if guesses:
                with store_wait():
                    await self._check(guesses, ends, right)
        finally:
            self._attempts.leave(guesses)
        return [right.get(n) or ends.get(n, NOT_CHECKED) for n in range(len(checks))]

    async def _check(
        self, guesses: Sequence[Guess[Check]], ends: Ends, right: dict[int, CodeRight]
    ) -> None:
        bound = await self._attempts.find(guesses, ends)
        compared = await self._attempts.compare(bound, ends)
        settled = await self._attempts.settle(compared)
        for each, end in zip(compared, settled, strict=bool(settled)):
            if end is Settled.ACCEPTED:
                right[each.guess.place] = _right(each)
            else:
                ends[each.guess.place] = WrongCode()


def _right(compared: Compared[Check]) -> CodeRight:
    reset, typed = (
        compared.reset,
        parse_answer(compared.guess.code, CodeType.NUMERIC, CODE_LENGTH),
    )
    if reset.uid is None or typed is None:
        raise AssertionError("a decoy or no code at all was found right")
    return CodeRight(
        uid=reset.uid,
        secret=compared.guess.asked.call.secret,
        code=typed.reveal(),
        created_at_ms=reset.created_at_ms,
        expires_at_ms=reset.expires_at_ms,
    )
