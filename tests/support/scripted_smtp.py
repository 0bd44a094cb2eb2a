"""An SMTP server that misbehaves as told: it stalls, refuses, or hangs up at a given point.

It runs in the test's own Trio loop; the client is in threads. ``taken`` are the mails it answered
250 to after their final dot; ``seen`` those whose final dot it read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

STALL = "stall"
"""Read on, and never answer."""
HANG_UP = "hang up"


@dataclass
class ScriptedSmtp:
    """``script`` says what to do at a point instead of the usual: a reply, STALL or HANG_UP.

    Points are ``connect``, the verbs in upper case, and ``.`` for the end of the mail.
    ``script_once`` is used up by the first session that meets it.
    """

    script: dict[str, str] = field(default_factory=dict)
    script_once: dict[str, str] = field(default_factory=dict)
    hold: trio.Event | None = None
    """While it is there and not set, every reply waits for it."""
    held: int = 0
    """How many replies ever waited."""
    on_point: Callable[[str], None] = lambda point: None
    connections: int = 0
    verbs: list[str] = field(default_factory=list)
    seen: list[bytes] = field(default_factory=list)
    taken: list[bytes] = field(default_factory=list)
    port: int = 0

    async def start(self, nursery: trio.Nursery) -> None:
        serve = partial(trio.serve_tcp, self._serve, 0, host="127.0.0.1")
        listeners = await nursery.start(serve)
        self.port = listeners[0].socket.getsockname()[1]

    async def _serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        try:
            await _Session(self, stream).run()
        except (trio.BrokenResourceError, _HungUp):
            pass  # the client is gone, or was left
        finally:
            await trio.aclose_forcefully(stream)


class _HungUp(Exception):
    pass


class _Session:
    def __init__(self, server: ScriptedSmtp, stream: trio.SocketStream) -> None:
        self.server = server
        self.stream = stream
        self.buffer = bytearray()

    async def line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            data = await self.stream.receive_some(65536)
            if not data:
                raise _HungUp
            self.buffer += data
        line, _, rest = bytes(self.buffer).partition(b"\r\n")
        self.buffer[:] = rest
        return line

    async def answer(self, point: str, usual: str) -> str:
        server = self.server
        server.on_point(point)
        if server.hold is not None and not server.hold.is_set():
            server.held += 1
            await server.hold.wait()
        told = server.script_once.pop(point, None) or server.script.get(point, usual)
        if told == HANG_UP:
            raise _HungUp
        if told == STALL:
            while await self.stream.receive_some(65536):
                pass
            raise _HungUp
        await self.stream.send_all(told.encode() + b"\r\n")
        return told

    async def run(self) -> None:
        await self.answer("connect", "220 scripted ESMTP")
        while True:
            line = await self.line()
            verb = line.split(b" ")[0].upper().decode()
            self.server.verbs.append(verb)
            if verb == "EHLO":
                await self.answer(verb, "250-scripted\r\n250 8BITMIME")
            elif verb == "DATA":
                if (await self.answer(verb, "354 go on")).startswith("354"):
                    await self.mail()
            elif verb == "QUIT":
                await self.answer(verb, "221 bye")
                return
            else:
                await self.answer(verb, "250 fine")

    async def mail(self) -> None:
        lines = []
        while (line := await self.line()) != b".":
            lines.append(line.removeprefix(b"."))
        mail = b"\r\n".join(lines)
        self.server.seen.append(mail)
        if (await self.answer(".", "250 taken")).startswith("250"):
            self.server.taken.append(mail)
