"""First messages stored with the lease of a worker that has room for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otp_server.domain.budget import OUTBOX_MARGIN_MS
from otp_server.domain.process import ProcessStatus
from otp_server.services.ports.outbox import FirstLease, LeasedMessage, MessageState
from otp_server.services.ports.processes import NewProcess, Started
from tests.contracts.rest_samples import (
    BOTH,
    LEASE,
    SMS,
    T0,
    claim,
    found,
    lease,
    new_process,
    report,
    states,
    trail,
    uuid,
)
from tests.support.changed_values import replace

if TYPE_CHECKING:
    from otp_server.stores import Store

GIVEN = FirstLease(b"L" * 16, T0 + LEASE)


def with_lease(n: int, **how: object) -> NewProcess:
    return replace(new_process(n, **how), lease=GIVEN)  # type: ignore[arg-type]  # as given


async def begun(store: Store, *items: NewProcess) -> list[LeasedMessage | None]:
    """Their messages, where they are leased."""
    outcomes = await store.start_processes(items)
    assert all(isinstance(outcome, Started) for outcome in outcomes)
    return [outcome.message for outcome in outcomes if isinstance(outcome, Started)]


async def test_it_is_what_a_claim_would_have_given(store: Store) -> None:
    [first, none] = await begun(store, with_lease(1, of=BOTH, mail=1), new_process(2, to=2))
    assert first is not None
    assert none is None
    [claimed] = await lease(store)
    assert claimed.uuid == uuid(2)
    await store.start_processes([new_process(3, of=BOTH, to=3, mail=1)])
    [like] = await lease(store)
    assert first == replace(
        like,
        message_id=first.message_id,
        lease=GIVEN.lease,
        uuid=uuid(1),
        contact=new_process(1).phone,
    )
    assert first.message_id not in (claimed.message_id, like.message_id)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (MessageState.SENT, ProcessStatus.SENT),
        (MessageState.UNCERTAIN, ProcessStatus.SENT),
        (MessageState.FAILED, ProcessStatus.FAILED),
    ],
)
async def test_its_report_is_written_down(
    store: Store, state: MessageState, status: ProcessStatus
) -> None:
    [message] = await begun(store, with_lease(1))
    assert message is not None
    assert await lease(store, at=LEASE - 1) == []
    said = report(message, state, at=1)
    assert await store.report_deliveries([replace(said, lease=bytes(16))]) == [False]
    assert await store.report_deliveries([said, said]) == [True, False]
    assert await states(store, 1) == [state.value]
    assert (await found(store, 1)).status is status


async def test_one_that_was_not_begun_waits_again(store: Store) -> None:
    [message] = await begun(store, with_lease(1))
    assert message is not None
    back = report(message, MessageState.QUEUED, at=1, not_before=1)
    assert await store.report_deliveries([back]) == [True]
    [again] = await lease(store, at=1)
    assert (again.message_id, again.tries) == (message.message_id, 2)


async def test_a_lease_that_runs_out_leaves_it_uncertain(store: Store) -> None:
    """Requirement 77: whoever held it may have sent it before it died."""
    await begun(store, with_lease(1))
    assert await store.next_message_at(SMS) == GIVEN.until_ms
    assert await lease(store, at=LEASE) == []
    assert await states(store, 1) == ["uncertain"]


@pytest.mark.parametrize(("ttl", "is_leased"), [(0, False), (1, True)])
async def test_none_is_leased_that_is_too_late(store: Store, ttl: int, is_leased: bool) -> None:
    [message] = await begun(store, with_lease(1, ttl=OUTBOX_MARGIN_MS + ttl))
    assert (message is not None) is is_leased
    await lease(store)
    assert await states(store, 1) == ["leased" if is_leased else "void"]


async def test_none_is_leased_that_a_later_one_of_the_batch_makes_void(store: Store) -> None:
    first, other, last, apart = await begun(
        store,
        with_lease(1, to=1),
        with_lease(2, to=2),
        with_lease(3, to=1),
        replace(with_lease(4, to=2), supersedes=False),
    )
    assert first is None
    assert None not in (other, last, apart)
    assert [await states(store, n) for n in (1, 2, 3, 4)] == [
        ["void"],
        ["leased"],
        ["leased"],
        ["leased"],
    ]


async def test_a_repetition_brings_no_message(store: Store) -> None:
    keyed = claim(operation="init")
    [message] = await begun(store, with_lease(1, claim=keyed))
    assert message is not None
    assert await begun(store, with_lease(2, claim=keyed)) == [None]
    assert await states(store, 1) == ["leased"]
    assert await trail(store) == [("otp.init", "started"), ("otp.init", "replayed")]
