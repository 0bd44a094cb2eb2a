"""Whose client asks, whose page asks, and which session came with it."""

from __future__ import annotations

import pytest

from otp_server.api.operation import ApiError
from otp_server.api.svc.cookies import SessionCookies, session_id_of
from otp_server.api.svc.hubs import Hubs, authority_of, host_of
from otp_server.api.svc.origins import Origins
from otp_server.errors import ErrorKind

ID, OTHER = "a" * 43, "b" * 43


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("app.example", "app.example"),
        ("APP.Example:8700", "app.example"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("[::1]:8700", "[::1]"),
        ("[::1]", "[::1]"),
        ("a_b", "a_b"),
        ("app.example.", "app.example"),
        ("App.example.:8443", "app.example"),
    ],
)
def test_hosts(host: str, name: str) -> None:
    assert host_of({"host": host}) == name


def test_a_schemes_own_port_is_no_part_of_an_authority() -> None:
    for host in ("App.example", "app.example:443", "app.example.:443"):
        assert authority_of({"host": host}, "https") == "app.example"
    assert authority_of({"host": "app.example:443"}, "http") == "app.example:443"
    assert authority_of({"host": "app.example:80"}, "http") == "app.example"
    assert authority_of({"host": "[::1]:8700"}, "http") == "[::1]:8700"


@pytest.mark.parametrize(
    "host", ["", "a b", "a/b", "u@a", "a:b", "a:", "::1", "a, b", "ä", "a\n", "[::1", "a" * 254]
)
def test_what_is_no_host(host: str) -> None:
    for headers in ({"host": host}, {"x-forwarded-host": "app.example"}):
        with pytest.raises(ApiError) as caught:
            host_of(headers)
        assert caught.value.kind is ErrorKind.MALFORMED


def test_organisations() -> None:
    hubs = Hubs([("a.example", "acme"), ("b.example", "acme"), ("c.example", "other")])
    assert hubs.organisation_of("b.example") == "acme"
    assert hubs.organisation_of("c.example") == "other"
    assert hubs.organisation_of("x.a.example") == "main"


ALLOWED = ("https://allowed.example", "capacitor://localhost")


def admits(*, tls_only: bool = True, **headers: str) -> bool:
    sent = {"host": "app.example"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    try:
        Origins(ALLOWED, tls_only=tls_only).admit(sent)
    except ApiError as error:
        return error.kind is not ErrorKind.FORBIDDEN_ORIGIN
    return True


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("app.example", "https://app.example"),
        ("APP.example:8443", "https://app.example:8443"),
        ("app.example:443", "https://app.example"),
        ("app.example", "https://allowed.example"),
        ("app.example", "capacitor://localhost"),
        ("localhost:8700", "http://localhost:8700"),
        ("127.0.0.1:8700", "http://127.0.0.1:8700"),
        ("[::1]:8700", "http://[::1]:8700"),
        ("x.localhost", "http://x.localhost"),
    ],
)
def test_pages_that_may(host: str, origin: str) -> None:
    assert admits(host=host, origin=origin)
    assert admits(host=host, origin=origin, sec_fetch_site="cross-site")


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("app.example", "https://evil.example"),
        ("app.example", "https://app.example.evil.example"),
        ("app.example", "https://evil-app.example"),
        ("app.example", "https://x.app.example"),
        ("app.example", "https://app.example:8443"),
        ("app.example:8443", "https://app.example"),
        ("app.example", "https://app.example/"),
        ("app.example", "HTTPS://app.example"),
        ("app.example", "http://app.example"),
        ("app.example", "ftp://app.example"),
        ("app.example", "null"),
        ("app.example", ""),
        ("app.example", "app.example"),
        ("app.example", "https://allowed.example, https://app.example"),
        ("app.example", "https://allowed.example.evil.example"),
        ("app.example", "http://allowed.example"),
        ("127.0.0.1:8700", "http://127.0.0.1:8701"),
        ("127.0.0.1.example", "http://127.0.0.1.example"),
        ("notlocalhost", "http://notlocalhost"),
    ],
)
def test_pages_that_may_not(host: str, origin: str) -> None:
    """Requirement 59: exactly, no part of a name."""
    assert not admits(host=host, origin=origin)
    assert not admits(host=host, origin=origin, sec_fetch_site="same-origin")


def test_plain_http_where_the_cookie_is_for_it_too() -> None:
    assert admits(tls_only=False, origin="http://app.example")
    assert not admits(tls_only=False, origin="http://evil.example")


@pytest.mark.parametrize(
    ("site", "may"),
    [
        ("same-origin", True),
        ("none", True),
        ("", True),
        ("cross-site", False),
        ("Cross-Site", False),
        ("same-site", False),
    ],
)
def test_without_an_origin(site: str, may: bool) -> None:
    assert admits(sec_fetch_site=site) is may
    assert admits()


def test_an_origin_without_a_host() -> None:
    with pytest.raises(ApiError) as caught:
        Origins((), tls_only=True).admit({"origin": "https://app.example"})
    assert caught.value.kind is ErrorKind.MALFORMED


def test_the_cookie() -> None:
    """Contracts B3, but without ``Domain``: it goes back to the very host that set it."""
    cookies = SessionCookies(secure=True, days=30)
    assert cookies.give(ID) == (
        "Set-Cookie",
        f"regsid={ID}; Path=/; Max-Age=2592000; Secure; HttpOnly; SameSite=Strict",
    )
    assert cookies.take() == (
        "Set-Cookie",
        "regsid=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict",
    )
    plain = SessionCookies(secure=False, days=1)
    assert plain.give(ID)[1] == f"regsid={ID}; Path=/; Max-Age=86400; HttpOnly; SameSite=Strict"


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, None),
        ({"cookie": f"regsid={ID}"}, ID),
        ({"cookie": f'a=b;  regsid="{ID}" ; c=d=e'}, ID),
        ({"cookie": f"a=b, regsid={ID}"}, ID),  # two lines of the header, joined
        ({"cookie": f"regsid={ID}; regsid={ID}"}, ID),
        ({"cookie": f"regsid={ID}; regsid={OTHER}"}, None),
        ({"cookie": f"regsid={ID}, regsid={OTHER}"}, None),
        ({"cookie": f"xregsid={ID}; Regsid={ID}; regsid"}, None),
        ({"cookie": "regsid="}, None),
        ({"cookie": "regsid=a b"}, None),
        ({"cookie": f"regsid={'a' * 129}"}, None),
        ({"x-param-regsid": ID}, ID),
        ({"x-param-regsid": f" {ID} "}, ID),
        ({"x-param-regsid": ID, "cookie": "a=b"}, ID),
        ({"x-param-regsid": ID, "cookie": "regsid="}, ID),
        ({"x-param-regsid": ID, "cookie": f"regsid={OTHER}"}, OTHER),
        ({"x-param-regsid": ID, "cookie": f"regsid={OTHER}; regsid={ID}"}, None),
        ({"x-param-regsid": f"{ID}, {OTHER}"}, None),
        ({"x-param-regsid": ""}, None),
        ({"regsid": ID, "authorization": f"Bearer {ID}"}, None),
    ],
)
def test_the_session_of_a_request(headers: dict[str, str], found: str | None) -> None:
    assert session_id_of(headers) == found
