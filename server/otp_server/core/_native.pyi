"""The whole surface of the Rust core; stubtest holds it against the module.

Limits are on a page of their own, ``_limits.pyi``.
"""

from collections.abc import Sequence
from typing import Final, final

from otp_server.core._limits import Charges, Limit, LimitRow, Quota, Quotas, SlidingWindows

__all__ = [
    "ERROR_KINDS",
    "Charges",
    "ContactCipher",
    "ContactIndex",
    "Frame",
    "FrameDecoder",
    "FrameFault",
    "HttpBatch",
    "HttpReactor",
    "HttpReactorOptions",
    "HttpRequest",
    "Keyring",
    "Limit",
    "LimitRow",
    "Passcode",
    "PresenceTable",
    "Quota",
    "Quotas",
    "Reactor",
    "ReactorBatch",
    "ReactorListener",
    "ReactorOptions",
    "SlidingWindows",
    "__version__",
    "decode_auth",
    "decode_otp_request",
    "decode_otp_response",
    "encode_frame",
    "encode_otp_code",
    "encode_otp_error",
    "hash_chain",
    "is_plain_json",
    "panic_on_purpose",
    "verify_digest",
]

__version__: Final[str]
ERROR_KINDS: Final[tuple[str, ...]]
"""The tokens of ``proto/errors.toml`` that the core itself names."""

def panic_on_purpose() -> None:
    """Panic in Rust; every panic of the core arrives as CoreBug, and this one in a test."""

# --- frames: proto/device-frames.md ---------------------------------------------------------

@final
class Frame:
    """One HapticFrame: its type byte (0-255) and its protobuf payload."""

    __match_args__: Final = ("type", "payload")
    @property
    def type(self) -> int: ...
    @property
    def payload(self) -> bytes: ...

@final
class FrameFault:
    """Why a byte stream stopped being HapticFrames: a token of ``proto/errors.toml``."""

    __match_args__: Final = ("kind", "close_code")
    @property
    def kind(self) -> str: ...
    @property
    def close_code(self) -> int: ...

@final
class FrameDecoder:
    """An incremental decoder: bytes in, frames out, however the bytes were cut.

    ``receive_data`` never raises for what a peer sent. After a fault, ``fault`` stays set, further
    data is discarded and no more frames come. Holds no buffer while no frame is half received.
    Lengths are checked as soon as the header is complete, before anything is kept.
    """

    def __new__(cls, frame_bytes_max: int = 1024) -> FrameDecoder:
        """``frame_bytes_max`` counts the 3 header bytes; ValueError outside 3..65535."""

    def receive_data(self, data: bytes | bytearray) -> list[Frame]: ...
    @property
    def fault(self) -> FrameFault | None: ...
    @property
    def pending_bytes(self) -> int:
        """Bytes of a begun frame that wait for the rest; 0 at a frame boundary."""

def encode_frame(frame_type: int, payload: bytes) -> bytes:
    """Header and payload; ValueError when the frame would pass 65535 bytes or type 255."""

def decode_otp_request(payload: bytes) -> bool:
    """OTPRequest: its ``reserved``. Raises WireError on what protobuf refuses, and on groups."""

def decode_auth(payload: bytes) -> str:
    """Auth: its ``jwt_token``. Raises WireError."""

def decode_otp_response(payload: bytes) -> tuple[str, int, str]:
    """OTPResponse: ``(otp, expires_at_ms, error)``. Raises WireError."""

def encode_otp_code(passcode: Passcode, expires_at_ms: int) -> bytes:
    """A whole OTP_RESPONSE frame with a code."""

def encode_otp_error(error: str) -> bytes:
    """A whole OTP_RESPONSE frame with an error and nothing else; ValueError for an empty error."""

# --- passcodes --------------------------------------------------------------------------------

@final
class Passcode:
    """A code. Its repr and str show nothing, it cannot be pickled, its memory is wiped."""

    @staticmethod
    def from_text(text: str, alphabet: str) -> Passcode:
        """ValueError (which never quotes ``text``) for a character outside the alphabet.

        Alphabets: ``numeric``, ``alphanumeric`` (digits and A-Z), ``alphabetic`` (A-Z),
        ``unambiguous`` (``BCDFGHJKLMNPQRSTVWXZ``, RFC 8628 section 6.1). Length 1 to 32.
        """

    def __len__(self) -> int: ...
    def matches(self, other: Passcode) -> bool:
        """Whether both are the same code, in constant time; of unlike lengths or alphabets: no."""

    def reveal(self) -> str:
        """The characters, for the one place that shows them to their owner."""

@final
class Keyring:
    """Keys by id; the first is current, the others still check what they once made.

    HMAC-SHA-256 over length-prefixed fields. Keys are 32 bytes or more, ids 1 to 64 characters and
    unique: ValueError otherwise. The repr shows ids only.
    """

    def __new__(cls, keys: Sequence[tuple[str, bytes]]) -> Keyring: ...
    @property
    def key_ids(self) -> list[str]: ...
    def draw(
        self, domain: str, tenant: str, alphabet: str, length: int, count: int
    ) -> list[tuple[Passcode, list[bytes]]]:
        """``count`` fresh passcodes from the operating system's CSPRNG by rejection sampling.

        Each comes with its digests under every key, current first, as ``digests`` would give with
        an empty challenge. Raises OSError when the random source fails.
        """

    def digests(
        self, domain: str, tenant: str, challenge: bytes, passcode: Passcode
    ) -> list[bytes]:
        """The 32-byte digest under every key, current first."""

    def derive(
        self,
        key_id: str,
        *,
        domain: str,
        tenant: str,
        challenge: bytes,
        generation: int,
        alphabet: str,
        length: int,
    ) -> Passcode:
        """The delivered code of a challenge: the same inputs give the same passcode.

        HMAC-SHA-256 in counter mode over (domain, tenant, challenge, generation), rejection
        sampled. KeyError for an unknown ``key_id``.
        """

def verify_digest(stored: bytes, candidates: Sequence[bytes]) -> bool:
    """Whether ``stored`` is one of ``candidates``; all are compared always, in constant time."""

# --- contacts ---------------------------------------------------------------------------------

@final
class ContactIndex:
    """What contacts are found and counted by, under one key. Its memory is wiped.

    ValueError for a key of less than 32 bytes.
    """

    def __new__(cls, key: bytes) -> ContactIndex: ...
    def of(self, tenant: str, channel: str, contact: str) -> bytes:
        """32 bytes: HMAC-SHA-256 over the three, each preceded by its length (8, big-endian)."""

@final
class ContactCipher:
    """What seals contacts, under one key, which goes by an id. Its memory is wiped.

    The stored form is ``length of the id | id | nonce | ChaCha20-Poly1305``; associated data are
    tenant and channel, each preceded by its length (8, big-endian).

    ValueError for a key that has not 32 bytes, or an id of more than 255 bytes.
    """

    def __new__(cls, key: bytes, key_id: str) -> ContactCipher: ...
    def seal(self, nonce: bytes, tenant: str, channel: str, contact: str) -> bytes:
        """The stored form. The nonce has 12 bytes (ValueError); none may be used twice."""

    def open(self, tenant: str, channel: str, sealed: bytes) -> str | None:
        """The contact, if this key sealed it for this tenant and channel."""

# --- the audit trail -----------------------------------------------------------------------------

def hash_chain(
    previous: bytes, entries: Sequence[tuple[int, str, str, str, str, str, str]]
) -> list[bytes]:
    """The hashes of entries that follow each other, and the 32 bytes of ``previous``.

    Each is SHA-256 over the hash before it and the entry's fields, the time in decimal digits; each
    field is preceded by its length in bytes (4, big-endian).
    """

# --- JSON ----------------------------------------------------------------------------------------

def is_plain_json(text: bytes, depth_max: int) -> bool:
    """Whether a text is JSON in UTF-8 without anything that readers judge differently.

    It then has no name twice in one object and no escapes in names, is nested ``depth_max`` deep
    at most, and its numbers are integers of at most 18 digits. False says nothing: it may be JSON.
    """

# --- who is connected ----------------------------------------------------------------------------

@final
class PresenceTable:
    """For each connection its device, since when, and from which address; about 80 bytes each."""

    def __new__(cls) -> PresenceTable: ...
    def hold(self, address: str) -> int:
        """Count one more connection of an address: how many there are now."""

    def release(self, address: str) -> None:
        """Count one less."""

    def arrive(self, connection: int, device_id: str, address: str | None, now_ms: int) -> None:
        """Note a connection's device; a held ``address`` is released when it leaves."""

    def leave(self, connection: int) -> bool:
        """Forget a connection; whether it was known."""

    def device_of(self, connection: int) -> str | None: ...
    def connections_of(self, device_id: str) -> list[int]:
        """Oldest first."""

    def since_ms(self, device_id: str) -> int | None:
        """When the device's oldest connection came."""

    def __len__(self) -> int: ...

# --- the devices' sockets (Linux) ----------------------------------------------------------------

@final
class ReactorListener:
    """A bound, listening, non-blocking TCP socket for a reactor. Port 0 picks a free one.

    ``host`` is a numeric address: ValueError otherwise. Raises OSError. ``send_buffer_bytes`` is
    each connection's SO_SNDBUF: the kernel keeps twice as much for a peer that does not read.
    """

    def __new__(
        cls,
        host: str,
        port: int,
        *,
        backlog: int = 4096,
        reuse_port: bool = False,
        send_buffer_bytes: int | None = None,
    ) -> ReactorListener: ...
    def getsockname(self) -> tuple[str, int]:
        """RuntimeError once it is closed or taken over."""

    def close(self) -> None:
        """Close it, unless a reactor has taken it over. Idempotent."""

@final
class ReactorOptions:
    """What a connection may cost and how long it may wait: ``proto/device-frames.md``.

    ``connections_max`` bounds those that are let in. The others, those that have not asked and
    those that are refused, are ``entrance_max`` at most; then the oldest goes for a new one, first
    of an address (IPv6: one /64) in no ``trusted`` network that has more than
    ``entrance_per_address``. ValueError when ``trusted`` has something else than networks, such as
    ``10.0.0.0/8``.

    ``item_bytes`` is what each read, WebSocket frame and frame counts beside its bytes.
    ``echo`` answers every WebSocket message with itself, for the conformance run.
    """

    def __new__(
        cls,
        *,
        connections_max: int,
        entrance_max: int,
        entrance_per_address: int,
        trusted: Sequence[str],
        frame_bytes_max: int,
        message_bytes_max: int,
        fragments_max: int,
        burst_bytes: int,
        bytes_per_s: int,
        item_bytes: int,
        outbox_bytes_max: int,
        upgrade_ms: int,
        frame_ms: int,
        ping_interval_ms: int,
        ping_misses: int,
        close_ms: int,
        write_ms: int,
        echo: bool = False,
    ) -> ReactorOptions: ...

@final
class ReactorBatch:
    """What happened since the poll before, in order on each connection."""

    @property
    def upgrades(self) -> list[tuple[int, str, str, list[tuple[bytes, bytes]], bool]]:
        """``(connection, peer, target, headers, over_limit)``, to be answered by ``decide_many``.

        Header names are lower case. ``over_limit``: as many are let in as may be.
        """

    @property
    def frames(self) -> list[tuple[int, Frame]]: ...
    @property
    def closed(self) -> list[tuple[int, str]]:
        """Connections that are gone, each once, and why: ``peer`` or the close reason."""

    @property
    def dropped(self) -> int:
        """Connections that ended without an upgrade: none in time, or too many waited."""

    @property
    def panics(self) -> int:
        """Connections lost to a bug of the core."""

    @property
    def starved(self) -> int | None:
        """The system's error number, where accepting pauses because something has run out."""

    @property
    def more(self) -> bool:
        """Whether work was left for the next poll."""

@final
class Reactor:
    """All connections of one listener in one epoll set. Connection numbers are never reused.

    To be driven by one task: wait until ``fileno()`` is readable or ``next_deadline()`` has come,
    and poll. Times are milliseconds of one steady clock. No call blocks. Connections that are gone
    are passed over in silence.
    """

    def __new__(cls, listener: ReactorListener, options: ReactorOptions) -> Reactor:
        """Takes the listener over; RuntimeError when it is closed. Raises OSError."""

    @property
    def connections(self) -> int:
        """Open sockets."""

    @property
    def has_more(self) -> bool:
        """Whether to poll at once, whatever the descriptor says."""

    def fileno(self) -> int: ...
    def next_deadline(self) -> int | None: ...
    def poll(self, now_ms: int, time_us: int) -> ReactorBatch:
        """Read, decode, answer pings and closes, fire deadlines; at most about ``time_us``.

        The GIL is released. Raises OSError when the epoll set cannot be read.
        """

    def decide_many(self, verdicts: Sequence[tuple[int, bytes | None]], now_ms: int) -> None:
        """None lets a connection in; bytes are the HTTP response that refuses it."""

    def send_many(self, messages: Sequence[tuple[int, bytes]], now_ms: int) -> None:
        """Send binary messages, at once where the sockets take them, queued and bounded where not.

        A connection with too much unread is closed as a slow reader.
        """

    def close_many(self, closes: Sequence[tuple[int, int, str, int]], now_ms: int) -> None:
        """``(connection, code, reason, within_ms)``: close after what is queued.

        What the peer has not taken by then is dropped, and the socket reset. The first close
        stands; a later one can only hasten it.
        """

    def close_all(self, code: int, reason: str) -> None:
        """Close every connection, in steps, one a poll."""

    def abandon(self) -> list[int]:
        """Drop every connection without a word; those that were in a batch and not closed."""

    def stop_accepting(self) -> None:
        """Close the listener; connections stay. Idempotent."""

# --- HTTP connections (Linux) --------------------------------------------------------------------

@final
class HttpReactorOptions:
    """Which requests are answered here, what a connection may cost and how long it may wait.

    ``routes`` are ``(method, path)`` with paths as ``/a/{b}/c``. A literal segment goes before a
    ``{name}``, whatever the method is; without a method (None) a path is never answered here. GET
    takes HEAD too. A path that is percent-encoded matches nothing. At most 1024.

    ``connections_max`` bounds all, ``per_address_max`` those of one address (IPv6: one /64) in no
    ``trusted`` network. ``head_bytes_max`` (64 to 65535) is of a request's head with its empty
    line, and of a trailer; ``body_bytes_max`` of a decoded body.

    ``head_ms``: from a request's first byte to the end of its head, and from a connection's begin
    to its first head. ``request_ms``: from there to the answer. ``idle_ms``: between two requests.
    ``write_ms``: for the peer to take an answer. ``close_ms``: from the last answer to the
    connection's end. Whoever misses one is closed without a word.

    ValueError when something is not so.
    """

    def __new__(
        cls,
        *,
        routes: Sequence[tuple[str | None, str]],
        connections_max: int,
        per_address_max: int,
        trusted: Sequence[str],
        head_bytes_max: int,
        body_bytes_max: int,
        head_ms: int,
        request_ms: int,
        idle_ms: int,
        write_ms: int,
        close_ms: int,
    ) -> HttpReactorOptions: ...

@final
class HttpRequest:
    """A whole request for one of the routes, well framed. Its repr shows no more than numbers."""

    @property
    def connection(self) -> int: ...
    @property
    def route(self) -> int:
        """The place of its route in ``routes``."""

    @property
    def method(self) -> str: ...
    @property
    def parameters(self) -> tuple[str, ...]:
        """What the path has in the places of the route's names, in order; never empty strings."""

    @property
    def query(self) -> str:
        """As it came, behind the question mark; empty: there is none."""

    @property
    def headers(self) -> dict[str, str]:
        """By lower-case names; the values of repeated ones joined by ``", "``. A new dict."""

    @property
    def body(self) -> bytes | None:
        """Decoded. None: larger than ``body_bytes_max``; answer so, the connection then ends."""

    @property
    def peer(self) -> str:
        """The address the connection came from."""

@final
class HttpBatch:
    """What happened since the poll before."""

    @property
    def requests(self) -> list[HttpRequest]:
        """To be answered by ``send_many``. At most one of each connection waits for its answer."""

    @property
    def refused(self) -> int:
        """Connections that were closed at once, for there are as many as may be."""

    @property
    def panics(self) -> int:
        """Connections lost to a bug of the core."""

    @property
    def starved(self) -> int | None:
        """The system's error number, where accepting pauses because something has run out."""

@final
class HttpReactor:
    """All HTTP/1.1 connections of one listener in one epoll set; see ``Reactor`` for the driving.

    A connection's first request for anything else than the routes (an upgrade and HTTP/2 too) hands
    it over, once all before it were answered. What is malformed, badly framed or in absolute form
    is refused and ends the connection. While an answer is owed, nothing is read: the requests
    behind it wait in the socket.
    """

    def __new__(cls, listener: ReactorListener, options: HttpReactorOptions) -> HttpReactor:
        """Takes the listener over; RuntimeError when it is closed. Raises OSError."""

    @property
    def connections(self) -> int:
        """Open sockets, without those handed over."""

    @property
    def has_more(self) -> bool:
        """Whether to poll at once, or to take handovers, whatever the descriptor says."""

    def fileno(self) -> int: ...
    def next_deadline(self) -> int | None: ...
    def poll(self, now_ms: int, time_us: int, unix_s: int) -> HttpBatch:
        """Read, decode, refuse, fire deadlines; at most about ``time_us``.

        ``unix_s`` is the time of the answers' Date. The GIL is released. Raises OSError when the
        epoll set cannot be read.
        """

    def send_many(
        self,
        answers: Sequence[tuple[HttpRequest, int, str, Sequence[tuple[str, str]], bytes]],
        now_ms: int,
        unix_s: int,
    ) -> int:
        """``(request, status, content type, headers, body)``, in any order, each once.

        Sent at once where the sockets take them. Date, Content-Length, ``Cache-Control: no-store``
        and ``X-Content-Type-Options: nosniff`` are added, and in ``headers`` left out;
        ``Connection: close`` there makes it the connection's last. To HEAD no body is sent. An
        answer to a connection that is gone is passed over in silence.

        Returns how many could not be said in HTTP (a line end in a header, a header of the framing,
        a status outside 200..599, a body with 204 or 304); their peers were told 500.
        """

    def take_handovers(self) -> list[tuple[int, bytes, str]]:
        """``(descriptor, bytes read, peer)`` of connections handed over since the last call.

        They are the caller's: it closes the descriptors, which are non-blocking. The bytes begin
        with the first byte of a request; what follows them is still in the socket.
        """

    def drain(self) -> None:
        """End every connection after the request it has begun, in steps, one a poll."""

    def stop_accepting(self) -> None:
        """Close the listener; connections stay. Idempotent."""
