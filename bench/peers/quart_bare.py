"""Quart-Trio, bare: fixed answers on our accept loop and its HTTP/1.1 connections.

    python -m bench.peers.quart_bare ANSWERS

``ANSWERS`` is a JSON list of ``method``, ``rule``, ``headers`` and ``body``. Each request's body is
read, then its answer is given; nothing is parsed, checked or stored.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.datastructures import Headers

from bench.peers import listener
from otp_server.telemetry import configure_logging
from otp_server.transport.http import HttpLimits, serve_http

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

_CONNECTIONS = 4096


def make_app(answers: list[dict[str, Any]]) -> QuartTrio:
    """An application that gives these answers."""
    app = QuartTrio("bare", static_folder=None)
    for number, answer in enumerate(answers):
        app.add_url_rule(
            answer["rule"], f"answer-{number}", _view(answer), methods=[answer["method"]]
        )
    return app


def _view(answer: Mapping[str, Any]) -> Callable[..., Awaitable[Response]]:
    body = answer["body"].encode()
    headers = Headers(answer["headers"])

    async def view(**_path: str) -> Response:
        await request.get_data(as_text=False)
        return Response(body, 200, headers)

    return view


async def _main(answers: list[dict[str, Any]]) -> None:
    await serve_http(
        make_app(answers),
        listener(),
        tls=None,
        limits=HttpLimits(_CONNECTIONS, _CONNECTIONS),
        stop=trio.sleep_forever,
    )


if __name__ == "__main__":
    configure_logging("error")
    trio.run(_main, json.loads(Path(sys.argv[1]).read_text()))
