"""The keys of deliveries: one provider a channel.

Annotations are read while the program runs, so this module does not postpone them.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from otp_server.config.ranges import TlsFile
from otp_server.config.secret import Secret

_Timeout = Annotated[float, Meta(ge=0.5, le=120)]
_Concurrency = Annotated[int, Meta(ge=1, le=256)]
_Line = Annotated[
    str,
    Meta(
        pattern=r"\A[^\x00-\x1f\x7f]{0,320}\Z",
        extra={"wanted": "one line of at most 320 characters, or nothing"},
    ),
]


class EmailSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How e-mail leaves the house."""

    kind: Annotated[
        Literal["none", "outbox", "smtp"],
        Meta(
            description="outbox appends messages, codes included, to outbox.jsonl in the data "
            "folder (development only); none has no e-mail."
        ),
    ] = "outbox"
    host: Annotated[
        str,
        Meta(
            pattern=r"\A[A-Za-z0-9.:_-]{0,253}\Z",
            extra={"wanted": "a host name or address, or nothing"},
            description="smtp: the mail server.",
        ),
    ] = ""
    port: Annotated[int, Meta(ge=1, le=65535, description="smtp: its port.")] = 587
    security: Annotated[
        Literal["starttls", "tls", "none"],
        Meta(
            description="smtp: starttls encrypts before anything is said and never goes on "
            "without; tls from the start (port 465); none not at all."
        ),
    ] = "starttls"
    user: Annotated[_Line, Meta(description="smtp: the account; empty sends without.")] = ""
    password: Annotated[Secret, Meta(description="smtp: the account's password.")] = Secret()
    sender: Annotated[
        _Line,
        Meta(
            extra={"wanted": "an address, such as Example <otp@example.com>"},
            description="smtp: the address in From.",
        ),
    ] = msgspec.field(name="from", default="")
    ca_file: Annotated[
        TlsFile,
        Meta(description="smtp: a PEM file of authorities to trust in place of the system's."),
    ] = ""
    timeout_s: Annotated[
        _Timeout, Meta(description="smtp: the longest that handing over a message may take.")
    ] = 20
    concurrency: Annotated[
        _Concurrency, Meta(description="Messages on their way at the same time.")
    ] = 4


class SmsSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How SMS leave the house."""

    kind: Annotated[
        Literal["none", "outbox", "twilio", "webhook"],
        Meta(
            description="outbox appends messages, codes included, to outbox.jsonl in the data "
            "folder (development only); twilio speaks the Messages API; webhook posts signed "
            "JSON; none has no SMS."
        ),
    ] = "outbox"
    url: Annotated[
        str,
        Meta(
            pattern=r"\A(https?://[!-~]{1,2000})?\Z",
            extra={"wanted": "a URL that starts with https://, or nothing", "quoted": False},
            description="webhook: where messages are posted. twilio: another base than "
            "https://api.twilio.com. No user name and no query in it.",
        ),
    ] = ""
    account: Annotated[
        str,
        Meta(
            pattern=r"\A[A-Za-z0-9]{0,64}\Z",
            extra={"wanted": "letters and digits, or nothing"},
            description="twilio: the Account SID.",
        ),
    ] = ""
    token: Annotated[Secret, Meta(description="twilio: the Auth Token.")] = Secret()
    secret: Annotated[
        Secret,
        Meta(description="webhook: the key of the HMAC-SHA-256 that each request is signed with."),
    ] = Secret()
    sender: Annotated[
        _Line,
        Meta(
            extra={"wanted": "a number such as +4930123456, a sender's name, or nothing"},
            description="Whom messages come from; twilio: a number, a name, or the SID of a "
            "messaging service.",
        ),
    ] = msgspec.field(name="from", default="")
    ca_file: Annotated[
        TlsFile,
        Meta(description="A PEM file of authorities to trust in place of the system's."),
    ] = ""
    allow_private: Annotated[
        bool,
        Meta(description="Whether url may lead into a private or loopback network."),
    ] = False
    timeout_s: Annotated[
        _Timeout, Meta(description="The longest one request may take. Redirects are refused.")
    ] = 10
    concurrency: Annotated[
        _Concurrency, Meta(description="Messages on their way at the same time.")
    ] = 8


class DeliverySection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One provider a channel."""

    email: EmailSection = EmailSection()
    sms: SmsSection = SmsSection()
