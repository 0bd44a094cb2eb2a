"""A web client with codes sent to many accounts, for the svc scenarios.

    python -m bench.web_client --config FILE --port N --accounts 256 --folder DIR

Registers the accounts, begins a session, opens its web socket and has a code sent to each account.
Then ``verify.requests`` (a request a line, as ``loadgen http`` reads them) and ``verify.headers``
(the session's cookie) are in the folder, and ``ready`` is printed. The socket stays open, which the
requests need, until standard input ends.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from http.cookies import SimpleCookie
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import trio
from trio_websocket import ConnectionClosed, connect_websocket

from otp_server.config import load_config
from otp_server.registry import open_installation
from otp_server.services.accounts import NewAccount
from otp_server.telemetry import configure_logging

if TYPE_CHECKING:
    from otp_server.config import Config

_COOKIE = "regsid"
_WAIT_S = 30.0
_LOOK_S = 0.05
_CODE = re.compile(r"\b\d{6}\b")


def account(number: int) -> str:
    """The address of this number's account."""
    return f"user{number}@example.com"


class WebClient:
    """One session and its socket."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http
        self.cookie = ""
        self.socket_id = ""

    async def call(self, service: str, **parameters: str) -> dict[str, Any]:
        """The ``data`` of a good answer; SystemExit for any other."""
        headers = {"Cookie": self.cookie} if self.cookie else {}
        answer = await self._http.post(f"/-/svc/{service}", headers=headers, json=parameters)
        if answer.status_code != httpx2.codes.OK:
            raise SystemExit(f"{service} was answered {answer.status_code}")
        for line in answer.headers.get_list("set-cookie"):
            morsel = SimpleCookie(line).get(_COOKIE)
            if morsel is not None:
                self.cookie = f"{_COOKIE}={morsel.value}"
        data: dict[str, Any] = answer.json()["data"]
        return data


async def hold(config: Config, port: int, accounts: int, folder: Path) -> None:
    """Make everything, say so, and keep the socket open until standard input ends."""
    async with open_installation(config) as installation:
        for number in range(accounts):
            await installation.add_user(NewAccount(account(number)))
    base = f"http://127.0.0.1:{port}"
    async with (
        httpx2.AsyncClient(base_url=base, timeout=_WAIT_S, trust_env=False) as http,
        trio.open_nursery() as nursery,
    ):
        client = WebClient(http)
        token = (await client.call("bootstrap.authn"))["token"]
        socket = await connect_websocket(
            nursery,
            "127.0.0.1",
            port,
            f"/-/websocket/?otak={token}",
            use_ssl=False,
            subprotocols=["service"],
        )
        with trio.fail_after(_WAIT_S):
            client.socket_id = json.loads(await socket.get_message())["data"]["socket_id"]
        secrets = await _send_all(client, accounts)
        codes = await _codes(config.server.data_dir / "outbox.jsonl", set(secrets))
        lines = [
            _line(email, codes[email], secret, client.socket_id)
            for email, secret in secrets.items()
        ]
        _write(folder / "verify.requests", "".join(lines))
        _write(folder / "verify.headers", f"Cookie: {client.cookie}\n")
        print("ready", flush=True)
        nursery.start_soon(trio.to_thread.run_sync, _until_input_ends)
        try:
            while True:  # what the server says is read, and its pings are answered
                await socket.get_message()
        except ConnectionClosed:
            raise SystemExit("the web socket was closed") from None


async def _send_all(client: WebClient, accounts: int) -> dict[str, str]:
    """The secret of each account's code, by its address."""
    secrets: dict[str, str] = {}
    for number in range(accounts):
        email = account(number)
        sent = await client.call("otp.send", email=email, socket_id=client.socket_id)
        if sent["status"] != "ok":
            raise SystemExit(f"otp.send: {sent['status']}")
        secrets[email] = sent["secret"]
    return secrets


async def _codes(outbox: Path, wanted: set[str]) -> dict[str, str]:
    """The code that was sent to each address."""
    with trio.fail_after(_WAIT_S):
        while True:
            mails = [json.loads(line) for line in _whole_lines(outbox)]
            codes = {
                mail["to"]: _CODE.search(mail["text"] or "")
                for mail in mails
                if mail["to"] in wanted
            }
            found = {email: code[0] for email, code in codes.items() if code is not None}
            if found.keys() == wanted:
                return found
            await trio.sleep(_LOOK_S)


def _whole_lines(file: Path) -> list[str]:
    """Its lines so far; the last one may be being written."""
    text = file.read_text() if file.exists() else ""
    return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _line(email: str, code: str, secret: str, socket_id: str) -> str:
    body = {"email": email, "code": code, "secret": secret, "socket_id": socket_id}
    text = json.dumps(body, separators=(",", ":"))
    return f"POST\t/-/svc/otp.verify\tverified\t{text}\n"


def _write(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)


def _until_input_ends() -> None:
    sys.stdin.read()
    os._exit(0)  # nothing is left to be done, and the server sees the socket's end


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--accounts", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    configure_logging("warning")
    config = load_config(arguments.config, os.environ)
    trio.run(hold, config, arguments.port, arguments.accounts, arguments.folder)


if __name__ == "__main__":
    main()
