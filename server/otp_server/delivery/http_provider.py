"""One POST to a provider, and what certainly happened to it.

What decides between "not sent" and "nobody knows" is whether the request had begun to leave
(httpcore's trace event). No redirect is followed, no proxy or netrc of the environment is used, no
cookie kept, and no more of an answer read than ``BODY_BYTES_MAX``.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2
import trio

from otp_server.delivery.resolve import AddressRefused, checked_addresses, system_lookup
from otp_server.services.ports.delivery import NotSent, SendProblem, Uncertain
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from otp_server.delivery.resolve import Lookup
    from otp_server.domain.address import Network

BODY_BYTES_MAX = 64 * 1024
KEEP_ALIVE_S = 4.0
"""Shorter than servers keep idle connections (Node's 5 s is the shortest usual time), because a
request on a connection that is just being closed ends as uncertain."""
CONNECT_RETRY_MS = 1000
RETRY_AFTER_MAX_MS = 3_600_000

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How a provider is reached. ``url`` holds no user, query or fragment: ValueError.

    Only public addresses are connected to, and those of the ``allowed`` networks. ``ca_file``
    replaces the system's certificate authorities.
    """

    url: str
    concurrency: int = 8
    deadline_s: float = 10.0
    connect_s: float = 4.0
    allowed: Sequence[Network] = ()
    ca_file: Path | None = None
    lookup: Lookup = field(default=system_lookup, repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("a provider's URL starts with https:// or http:// and names a host")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("a provider's URL holds no user, query or fragment")
        _ = parts.port  # ValueError when it is none


@dataclass(frozen=True, slots=True)
class Answer:
    """A provider's answer; ``body`` None: it was too large, or ended early."""

    status: int
    retry_after_ms: int | None
    body: bytes | None = field(repr=False)


@dataclass
class _Progress:
    """How far a request got."""

    began: bool = False

    async def trace(self, event: str, _info: object) -> None:
        if event.endswith("send_request_headers.started"):
            self.began = True


class HttpProvider:
    """Posts to one host."""

    def __init__(self, name: str, options: HttpOptions) -> None:
        self.name = name
        self.options = options
        parts = urlsplit(options.url)
        self._url = httpx2.URL(options.url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        context = ssl.create_default_context(cafile=options.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._client = httpx2.AsyncClient(
            verify=context,
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            follow_redirects=False,
            limits=httpx2.Limits(
                max_connections=None,
                max_keepalive_connections=options.concurrency,
                keepalive_expiry=KEEP_ALIVE_S,
            ),
            headers={"User-Agent": "otp-server", "Accept-Encoding": "identity"},
        )

    async def post(
        self, path: str, content: bytes, headers: Mapping[str, str], *, within_s: float
    ) -> Answer | NotSent | Uncertain:
        """POST ``content`` to the URL with ``path`` appended, within the deadline.

        NotSent: the request never began to leave. Uncertain: it did, and no answer came.
        Cancellation: the connection is closed; the request may have left.
        """
        limit_s = min(self.options.deadline_s, within_s)
        if limit_s <= 0:
            return NotSent(SendProblem.EXPIRED)
        deadline = trio.current_time() + limit_s
        progress = _Progress()
        reply: httpx2.Response | NotSent | Uncertain | None = None
        with trio.move_on_at(deadline):
            reply = await self._ask(path, content, headers, progress, deadline)
        if reply is None:
            reply = _cut(progress, SendProblem.TIMEOUT)
        if not isinstance(reply, httpx2.Response):
            log.warning("no answer", provider=self.name, problem=reply.problem.value)
            return reply
        log.debug("provider answered", provider=self.name, status=reply.status_code)
        return await self._read(reply, deadline)

    async def _ask(
        self,
        path: str,
        content: bytes,
        headers: Mapping[str, str],
        progress: _Progress,
        deadline: float,
    ) -> httpx2.Response | NotSent | Uncertain:
        """Try one address after the other, until the request begins to leave to one."""
        options = self.options
        try:
            addresses = await checked_addresses(
                self._host, self._port, allowed=options.allowed, lookup=options.lookup
            )
        except AddressRefused:
            log.error("the provider's address is not allowed", provider=self.name)  # noqa: TRY400 - its trace says no more
            return NotSent(SendProblem.UNREACHABLE)
        except OSError:
            addresses = []
        failed: NotSent | Uncertain = NotSent(SendProblem.UNREACHABLE, CONNECT_RETRY_MS)
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            # For the connection and for the TLS handshake, each. httpcore does not close a socket
            # whose handshake is cancelled: so they end by themselves before the deadline.
            share_s = (deadline - trio.current_time()) / left / 2
            connect_s = max(0.001, min(options.connect_s, share_s))
            request = self._client.build_request(
                "POST",
                self._url.copy_with(host=address, path=self._url.path.rstrip("/") + path),
                content=content,
                headers={**headers, "Host": self._url.netloc.decode("ascii")},
                timeout=httpx2.Timeout(None, connect=connect_s),
                extensions={"sni_hostname": self._host, "trace": progress.trace},
            )
            try:
                return await self._client.send(request, stream=True)
            except httpx2.TimeoutException:
                failed = _cut(progress, SendProblem.TIMEOUT)
            except httpx2.HTTPError:
                problem = SendProblem.UNKNOWN if progress.began else SendProblem.UNREACHABLE
                failed = _cut(progress, problem)
            if progress.began:
                break
        return failed

    async def _read(self, response: httpx2.Response, deadline: float) -> Answer:
        """The status stands when the body does not come whole, or not by the deadline."""
        body = bytearray()
        whole = False
        try:
            with trio.move_on_at(deadline) as patience:
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > BODY_BYTES_MAX:
                        patience.cancel()  # a break would leave generators within it unclosed
                whole = not patience.cancel_called
        except httpx2.HTTPError:
            pass  # cut short: the status stands
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await response.aclose()
        return Answer(
            response.status_code,
            _retry_after_ms(response.headers.get("Retry-After"), response.headers.get("Date")),
            bytes(body) if whole else None,
        )

    async def aclose(self) -> None:
        """Close idle connections. Idempotent."""
        await self._client.aclose()


def _cut(progress: _Progress, problem: SendProblem) -> NotSent | Uncertain:
    return Uncertain(problem) if progress.began else NotSent(problem, CONNECT_RETRY_MS)


def _retry_after_ms(value: str | None, date: str | None) -> int | None:
    """RFC 9110 section 10.2.3: seconds, or a date, which is compared with the answer's own."""
    if value is None:
        return None
    if value.isascii() and value.isdecimal():
        return min(int(value[:9]) * 1000, RETRY_AFTER_MAX_MS)
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(date or "")
    except (ValueError, TypeError):  # TypeError: only one of them has a zone
        return None
    return max(0, min(int(wait.total_seconds() * 1000), RETRY_AFTER_MAX_MS))
