"""The keys of the REST face.

Annotations are read while the program runs, so this module does not postpone them.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from otp_server.config.ranges import Windows


class RestSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """OTP processes over SMS and e-mail.

    Limits are [count, seconds] pairs, all of them enforced at once.
    """

    limits: Annotated[Windows, Meta(description="Starts of one type for one contact.")] = (
        (6, 60),
        (18, 3600),
        (24, 86400),
    )
    contacts_max: Annotated[
        int,
        Meta(
            ge=1000,
            le=100_000_000,
            description="How many contacts may start processes within the longest window of "
            "limits: 250 to 550 bytes of memory each. Starts for more are refused as overloaded.",
        ),
    ] = 1_000_000
    starts_per_tenant: Annotated[Windows, Meta(description="Starts of one tenant together.")] = (
        (60_000, 60),
    )
    starts_in_all: Annotated[Windows, Meta(description="Starts of all tenants together.")] = (
        (100_000, 60),
    )
    attempts_per_address: Annotated[
        Windows, Meta(description="Wrong codes from one address (IPv6: one /64).")
    ] = ((30, 60),)
    attempts_per_client: Annotated[Windows, Meta(description="Wrong codes of one API client.")] = (
        (600, 60),
    )
    requests_per_client: Annotated[
        Windows, Meta(description="Calls of one API client, whatever they ask.")
    ] = ((6000, 60),)
    prefix_limit: Annotated[
        Windows,
        Meta(
            description="SMS starts of one tenant for numbers that differ in their last four "
            "digits only: many of them are a sign of toll fraud."
        ),
    ] = ((1000, 3600),)
    unverified_ratio: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Which part of one such prefix's SMS starts of the last hour may stay "
            "without the right code; 0 does not look.",
        ),
    ] = 0.0
    guards_record_only: Annotated[
        bool,
        Meta(
            description="Whether prefix_limit and unverified_ratio are only counted, in metrics "
            "and the audit trail, and refuse nothing."
        ),
    ] = True
    default_country: Annotated[
        str,
        Meta(
            pattern=r"\A([A-Z]{2})?\Z",
            extra={"wanted": "two capitals (ISO 3166), such as DE, or nothing"},
            description="The country of phone numbers written without + or 00; empty refuses such "
            "numbers.",
        ),
    ] = ""
    countries: Annotated[
        tuple[Annotated[str, Meta(pattern=r"\A[A-Z]{2}\Z")], ...],
        Meta(
            extra={"wanted": 'a list of countries (ISO 3166), such as ["DE", "AT"]'},
            description="The countries whose phone numbers get messages; empty allows all.",
        ),
    ] = ()
    sms_origin: Annotated[
        str,
        Meta(
            pattern=r"\A([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+)?\Z",
            extra={"wanted": "a domain in small letters, such as app.example, or nothing"},
            description="The web domain that may fill in codes from an SMS; when it is set, each "
            "SMS ends with the line @DOMAIN #CODE.",
        ),
    ] = ""
    strict: Annotated[
        bool, Meta(description="Whether types may let codes live for 600 seconds at most.")
    ] = False
    mask_contacts: Annotated[
        bool, Meta(description="Whether search shows parts of phone numbers and addresses only.")
    ] = False
    keep_days: Annotated[
        int,
        Meta(
            ge=1,
            le=3650,
            description="How long a process is kept, with its sealed contact; not shorter than "
            "any window of the limits on starts.",
        ),
    ] = 30
    idempotency_hours: Annotated[
        int,
        Meta(
            ge=1,
            le=720,
            description="How long a call with the same Idempotency-Key gives the first answer.",
        ),
    ] = 24
    contact_index: Annotated[
        str,
        Meta(
            pattern=r"\A([0-9a-f]{16})?\Z",
            extra={"wanted": "16 hexadecimal digits, or nothing"},
            description="Another last key of keys.contact is refused, because limits, wrong codes "
            "and locks of all contacts would be forgotten; the refusal names the fingerprint that, "
            "given here, accepts it.",
        ),
    ] = ""
    token_s: Annotated[
        int, Meta(ge=60, le=86400, description="How long a token of POST /oauth/token lives.")
    ] = 3600
    answer_s: Annotated[
        float,
        Meta(ge=1, le=60, description="A call not answered by then is answered with an error."),
    ] = 10
