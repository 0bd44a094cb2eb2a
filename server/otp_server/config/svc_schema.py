"""The keys of the svc face.

Annotations are read while the program runs, so this module does not postpone them.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from otp_server.config.ranges import Windows

HubPair = tuple[str, str]


class SvcSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Web clients: accounts, sessions, otp.send, otp.verify, otp.set_password.

    Limits are [count, seconds] pairs, all of them enforced at once.
    """

    reveal_accounts: Annotated[
        bool,
        Meta(
            description="Whether a caller may know that an e-mail has no account (no-user), as the "
            "contract says. false: known and unknown e-mails are answered alike, and as fast."
        ),
    ] = True
    get_calls: Annotated[
        bool,
        Meta(
            description="Whether services answer GET too, as the contract says. false: only POST "
            "changes or sends anything."
        ),
    ] = True
    hubs: Annotated[
        tuple[HubPair, ...],
        Meta(
            extra={"wanted": 'pairs of host and organisation, such as [["a.example", "acme"]]'},
            description='The organisation of each host name; any other host is of "main".',
        ),
    ] = ()
    allowed_origins: Annotated[
        tuple[str, ...],
        Meta(
            extra={"wanted": 'origins such as ["https://app.example"]'},
            description="Origins whose pages may open sockets, compared exactly; the host's own "
            "always may. Their calls are let in too, but no page of another origin can read the "
            "answer: no CORS headers are sent.",
        ),
    ] = ()
    cookie_secure: Annotated[
        bool,
        Meta(
            description="Whether the session cookie is for TLS only. false: for development over "
            "plain HTTP with clients that take this word for word."
        ),
    ] = True
    session_days: Annotated[
        int, Meta(ge=1, le=400, description="How long somebody stays signed in.")
    ] = 30
    code_ttl_s: Annotated[
        int, Meta(ge=30, le=1800, description="How long a code and its secret are good.")
    ] = 600
    attempts_max: Annotated[
        int, Meta(ge=1, le=20, description="Wrong codes before a secret is burnt.")
    ] = 5
    limits: Annotated[Windows, Meta(description="Codes sent to one account.")] = (
        (6, 60),
        (18, 3600),
        (24, 86400),
    )
    calls_per_address: Annotated[
        Windows, Meta(description="Calls of any service by one address (IPv6: one /64).")
    ] = ((300, 60),)
    sends_per_address: Annotated[
        Windows, Meta(description="Codes asked for by one address (IPv6: one /64).")
    ] = ((30, 60), (300, 3600))
    sends_in_all: Annotated[Windows, Meta(description="Codes asked for by everybody together.")] = (
        (6000, 60),
    )
    attempts_per_address: Annotated[
        Windows, Meta(description="Wrong codes and secrets from one address.")
    ] = ((30, 60),)
    sign_ins_per_account: Annotated[
        Windows, Meta(description="Wrong passwords for one account.")
    ] = ((5, 60), (50, 3600))
    sign_ins_per_address: Annotated[
        Windows, Meta(description="Wrong passwords from one address.")
    ] = ((30, 60),)
    sessions_per_address: Annotated[
        Windows, Meta(description="Sessions begun by one address without signing in.")
    ] = ((120, 60),)
    sessions_in_all: Annotated[
        Windows, Meta(description="Sessions begun by everybody together without signing in.")
    ] = ((12_000, 60),)
    keys_max: Annotated[
        int,
        Meta(
            ge=1000,
            le=100_000_000,
            description="Accounts or addresses held in the memory of one limit; further ones are "
            "refused as overloaded.",
        ),
    ] = 1_000_000
    sockets_max: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Open web sockets of all clients together.")
    ] = 10_000
    sockets_per_address: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Open web sockets of one address.")
    ] = 200
    delivery_wait_s: Annotated[
        float,
        Meta(
            ge=0,
            le=30,
            description="How long otp.send waits for the provider's answer before it says sent: 0.",
        ),
    ] = 5
    answer_s: Annotated[
        float, Meta(ge=1, le=60, description="When a call is answered as timed out.")
    ] = 20
    breached_passwords: Annotated[
        str,
        Meta(
            description="A file of SHA-1 digests of breached passwords, one a line in hexadecimal, "
            "sorted (a count behind a colon is ignored), beside the built-in list of the most "
            "common ones; empty: none."
        ),
    ] = ""
