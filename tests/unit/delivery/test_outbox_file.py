"""The development outbox: whole lines, for its owner alone."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import stat
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from otp_server.clock import SteadyClock
from otp_server.delivery import OutboxFileOptions, open_senders, outbox_file
from otp_server.delivery.outbox_file import OutboxFileSender
from otp_server.domain.challenge_type import Channel
from otp_server.services.ports.delivery import BatchSender, Message, NotSent, SendProblem, Sent
from tests.support.changed_values import replace

MESSAGE = Message(
    id="1-1",
    process="00000000-0000-0000-0000-000000000001",
    channel=Channel.SMS,
    to="+420600000001",
    subject="",
    text="Kód 123456\nJe váš.",
    html=None,
    expires_at_ms=0,
)

LINE = {
    "channel": "sms",
    "to": "+420600000001",
    "subject": "",
    "text": "Kód 123456\nJe váš.",
    "process": "00000000-0000-0000-0000-000000000001",
}


def lines(path: Path) -> list[dict[str, str]]:
    data = path.read_bytes()
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


async def test_one_line_a_message_with_the_fields_people_look_for(tmp_path: Path) -> None:
    path = tmp_path / "outbox.jsonl"
    assert await OutboxFileSender(path).send(MESSAGE) == Sent()
    assert path.read_bytes() == msgspec.json.encode(LINE) + b"\n"
    assert lines(path) == [LINE]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_parallel_writers_do_not_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "outbox.jsonl"
    senders = [OutboxFileSender(path), OutboxFileSender(path)]
    async with trio.open_nursery() as nursery:
        for n in range(200):
            text = f"{n}:" + "x" * (n * 37)
            nursery.start_soon(senders[n % 2].send, replace(MESSAGE, text=text))
    assert sorted(int(line["text"].split(":")[0]) for line in lines(path)) == [*range(200)]


async def test_many_at_once_are_as_many_lines_in_order(tmp_path: Path) -> None:
    path = tmp_path / "outbox.jsonl"
    sender = OutboxFileSender(path)
    assert isinstance(sender, BatchSender)
    messages = [replace(MESSAGE, text=f"{n}") for n in range(100)]
    assert await sender.send_many(messages) == [Sent()] * 100
    assert await sender.send_many([]) == []
    assert [line["text"] for line in lines(path)] == [f"{n}" for n in range(100)]


async def test_of_many_those_that_there_is_room_for_are_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "outbox.jsonl"
    path.write_bytes(b"{}\n")
    write = os.write
    length = len(msgspec.json.encode(LINE)) + 1

    def write_some(file: int, data: bytes) -> int:
        return write(file, data[: 2 * length + length // 2])

    monkeypatch.setattr(os, "write", write_some)
    outcomes = await OutboxFileSender(path).send_many([MESSAGE] * 5)
    left = NotSent(SendProblem.UNREACHABLE, 1000)
    assert outcomes == [Sent(), Sent(), left, left, left]
    assert lines(path) == [{}, LINE, LINE]

    truncate, calls = os.ftruncate, 0

    def truncate_once(file: int, size: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError(errno.EIO, "a fault")
        truncate(file, size)

    monkeypatch.setattr(os, "ftruncate", truncate_once)
    outcomes = await OutboxFileSender(path).send_many([MESSAGE] * 5)
    assert outcomes == [Sent(), Sent(), left, left, left]  # what was torn goes with the next
    monkeypatch.undo()
    assert await OutboxFileSender(path).send(MESSAGE) == Sent()
    assert lines(path) == [{}, *[LINE] * 5]


async def test_who_comes_while_another_writes_is_written_with_all_who_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "outbox.jsonl"
    sender, append, sizes = OutboxFileSender(path), outbox_file.append_lines, []

    go_on = threading.Event()

    def counted(to: Path, data: bytes) -> int:
        assert go_on.wait(10)
        sizes.append(data.count(b"\n"))
        return append(to, data)

    monkeypatch.setattr(outbox_file, "append_lines", counted)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.send_many, [])
        await trio.testing.wait_all_tasks_blocked()
        for n in range(9):
            nursery.start_soon(sender.send_many, [replace(MESSAGE, text=f"{n}")] * n)
        await trio.testing.wait_all_tasks_blocked()
        go_on.set()
    assert sizes == [0, 36]
    assert len(lines(path)) == 36


async def test_each_of_those_hears_of_its_own_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[int, int] = {}
    sender = OutboxFileSender(tmp_path / "outbox.jsonl")

    async def send(count: int) -> None:
        told[count] = list(await sender.send_many([MESSAGE] * count)).count(Sent())

    go_on = threading.Event()

    def append_some(_: Path, data: bytes) -> int:
        assert go_on.wait(10)
        return data.count(b"\n") - 4

    monkeypatch.setattr(outbox_file, "append_lines", append_some)
    async with trio.open_nursery() as nursery:
        for count in (5, 1, 2, 3):  # the first one writes before the others have come
            nursery.start_soon(send, count)
            await trio.testing.wait_all_tasks_blocked()
        go_on.set()
    assert told == {5: 1, 1: 1, 2: 1, 3: 0}


async def test_who_gives_up_before_it_is_written_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "outbox.jsonl"
    sender = OutboxFileSender(path)
    path.touch(0o600)
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.send, replace(MESSAGE, text="first"))
            await trio.testing.wait_all_tasks_blocked()
            with trio.CancelScope() as scope:
                scope.cancel()
                await sender.send(replace(MESSAGE, text="gave up"))
            nursery.start_soon(sender.send, replace(MESSAGE, text="second"))
            await trio.testing.wait_all_tasks_blocked()
            fcntl.flock(held, fcntl.LOCK_UN)
    assert [line["text"] for line in lines(path)] == ["first", "second"]


async def test_channels_with_one_file_have_one_sender(tmp_path: Path) -> None:
    options = OutboxFileOptions(tmp_path / "outbox.jsonl")
    other = OutboxFileOptions(tmp_path / "other.jsonl")
    both = open_senders(dict.fromkeys(Channel, options), SteadyClock())
    assert len({id(provider.sender) for provider in both.values()}) == 1
    assert len({id(provider.breaker) for provider in both.values()}) == 2
    two = open_senders({Channel.SMS: options, Channel.EMAIL: other}, SteadyClock())
    assert two[Channel.SMS].sender is not two[Channel.EMAIL].sender


async def test_a_torn_last_line_is_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "outbox.jsonl"
    path.write_bytes(b'{"whole": 1}\n{"torn": ' + b"x" * 200_000)
    await OutboxFileSender(path).send(MESSAGE)
    assert [*lines(path)[0]] == ["whole"]
    assert len(lines(path)) == 2
    path.write_bytes(b"only torn")
    await OutboxFileSender(path).send(MESSAGE)
    assert len(lines(path)) == 1


async def test_an_outbox_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "outbox.jsonl"
    path.touch(mode=0o644)
    path.chmod(0o644)
    await OutboxFileSender(path).send(MESSAGE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / "outbox.jsonl").symlink_to(target)
    outcome = await OutboxFileSender(tmp_path / "outbox.jsonl").send(MESSAGE)
    assert isinstance(outcome, NotSent)
    assert not target.exists()


async def test_a_folder_that_is_gone_is_worth_another_try(tmp_path: Path) -> None:
    sender = OutboxFileSender(tmp_path / "gone" / "outbox.jsonl")
    assert await sender.send(MESSAGE) == NotSent(SendProblem.UNREACHABLE, 1000)


_FULL_DISK = """
import signal, sys
from pathlib import Path
from otp_server.delivery.outbox_file import append_lines
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    append_lines(Path(sys.argv[1]), b"y" * 900 + b"\\n")
except OSError as error:
    sys.exit(7)
"""


def test_a_disk_that_fills_up_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "outbox.jsonl"
    path.write_bytes(b"x" * 500 + b"\n")

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(path)],
        preexec_fn=small_files,
        env=dict(os.environ),
        timeout=60,
        check=False,
    )
    assert done.returncode == 7
    assert path.read_bytes() == b"x" * 500 + b"\n"
