"""What may hold a code, a secret or a contact shows none of them (requirements 4, 86)."""

from __future__ import annotations

import msgspec
import pytest

from otp_server.api.operation import Request
from otp_server.api.rest import oauth
from otp_server.api.rest.shapes import AttemptBody, ContactBody, PlainContactBody, SearchBody
from otp_server.api.svc import resets, sessions
from otp_server.api.svc.calling import Asked, Told, Visitor
from otp_server.api.svc.parameters import Parameters
from otp_server.api.svc.shapes import (
    ChangeBody,
    CheckBody,
    CheckData,
    SendBody,
    SendData,
    SignInBody,
    TokenData,
    UserData,
)
from otp_server.domain.process import Entity
from otp_server.domain.process_outcome import Found
from otp_server.services.attempts import Attempt
from otp_server.services.search import SearchQuery
from otp_server.services.start_limits import SmsStart, Wish
from otp_server.services.start_reading import Declined, Handshake, Ready, Start, Way
from tests.support.process_world import EMAIL, MAIL, PHONE, SMS, TENANT, ProcessWorld, init

CODE, SECRET, KEY, ENTITY = "483920", "hush-hush", "idem-key-1", "client-338"
HIDDEN = (CODE, SECRET, KEY, ENTITY, PHONE, EMAIL)
HANDSHAKE = Handshake("t", "c", "192.0.2.1", "login", PHONE, EMAIL, (Entity("client", ENTITY),))
CONTACTS = {SMS: PHONE, MAIL: EMAIL}
SEARCH = SearchQuery("t", "login", PHONE, EMAIL, (Entity("client", ENTITY),))
SENT = {"type": "login", "mobilePhone": PHONE, "email": EMAIL}
SENT_WHOLE = {**SENT, "entities": [{"type": "client", "id": ENTITY}]}

SVC_ASKED = Asked(
    Visitor("app.example", "main", "192.0.2.1", "en", SECRET),
    resets._ChangeParameters(EMAIL, CODE, SECRET, SECRET, "s"),
    CODE,
)


@pytest.mark.parametrize(
    "value",
    [
        HANDSHAKE,
        Start(*(getattr(HANDSHAKE, name) for name in HANDSHAKE.__struct_fields__), KEY),
        Ready(CONTACTS, Way(1, None, tuple(CONTACTS), 0, SMS, 60)),  # type: ignore[arg-type] # no plan is looked at
        Declined(None, CONTACTS),  # type: ignore[arg-type] # no refusal either
        SEARCH,
        SmsStart(b"x", PHONE),
        Wish(HANDSHAKE.hitter, 1, {SMS: b"x"}, SmsStart(b"x", PHONE)),
        Attempt("t", "c", "192.0.2.1", "some-uuid", CODE, KEY),
        oauth._Ask("some-id", SECRET, None, "192.0.2.1"),
        oauth.TokenForm("client_credentials", "some-id", SECRET),
        oauth.AccessToken(SECRET, "Bearer", 3600, "otp.run"),
        Request(
            "POST",
            {},
            [("client_secret", SECRET), ("email", EMAIL)],
            {"authorization": f"Bearer {SECRET}", "idempotency-key": KEY},
            f"{CODE} {PHONE}".encode(),
            "192.0.2.1",
        ),
        AttemptBody(CODE),
        msgspec.convert(SENT_WHOLE, ContactBody),
        msgspec.convert(SENT_WHOLE, PlainContactBody),
        msgspec.convert(SENT_WHOLE, SearchBody),
        SVC_ASKED,
        SVC_ASKED.parameters,
        resets._SendParameters(EMAIL, "s", ""),
        resets._CheckParameters(EMAIL, CODE, SECRET, "s"),
        sessions._SignInParameters(EMAIL, SECRET, None),
        Told(SendData(status="ok", email=EMAIL, secret=SECRET), False, (("Set-Cookie", SECRET),)),
        Visitor("app.example", "main", "192.0.2.1", "en", SECRET),
        Parameters({"code": CODE, "password": SECRET}),
        SendBody(email=EMAIL, socket_id="s"),
        CheckBody(email=EMAIL, code=CODE, secret=SECRET, socket_id="s"),
        ChangeBody(uid=EMAIL, code=CODE, secret=SECRET, password=SECRET, socket_id="s"),
        SignInBody(email=EMAIL, password=SECRET),
        SendData(status="ok", email=EMAIL, secret=SECRET, ident=EMAIL, username=EMAIL),
        CheckData(code=CODE, secret=SECRET),
        UserData("u", "u", EMAIL, "", "", 1),
        TokenData(token=SECRET),
    ],
    ids=lambda value: type(value).__name__,
)
def test_nothing_secret_is_shown(value: object) -> None:
    shown = repr(value)
    assert type(value).__name__ in shown
    for hidden in HIDDEN:
        assert hidden not in shown


async def test_a_page_of_a_search_shows_no_contact() -> None:
    world = ProcessWorld()
    await world.add_type()
    await world.start(init(phone=PHONE, email=EMAIL))
    [found] = await world.search.search_many([SearchQuery(TENANT, "login")])
    assert isinstance(found, Found)
    assert found.processes[0].phone == PHONE
    assert PHONE not in repr(found)
    assert EMAIL not in repr(found)
