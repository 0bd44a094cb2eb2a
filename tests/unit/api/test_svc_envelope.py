"""The envelope of the svc face: good answers, and every error of the list (B5)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otp_server.api.operation import ApiError, Response
from otp_server.api.svc.envelope import Envelopes, ServiceError
from otp_server.api.svc.shapes import NothingData
from otp_server.core import Quota, Quotas
from otp_server.domain.outcome import Reason, Refused
from otp_server.domain.process_outcome import ProcessRefused
from otp_server.errors import ErrorKind

ENVELOPES = Envelopes(lambda: 1_700_000_000_123)
SEND = ENVELOPES.error_style("otp.send", tells_failure=True)
VERIFY = ENVELOPES.error_style("otp.verify")


def said(response: Response) -> dict[str, Any]:
    assert response.content_type == "application/json; charset=utf-8"
    answer: dict[str, Any] = json.loads(response.body)
    return answer


def test_a_good_answer() -> None:
    headers = (("Set-Cookie", "a=b"),)
    response = ENVELOPES.wrap("otp.send", NothingData(), online=False, headers=headers)
    assert said(response) == {
        "__ack__": "otp.send",
        "__status__": "offline",
        "__timestamp__": 1_700_000_000_123,
        "data": {},
    }
    assert (response.status, response.headers) == (200, headers)
    assert said(ENVELOPES.wrap("x", NothingData(), online=True))["__status__"] == "online"


@pytest.mark.parametrize("kind", ErrorKind)
@pytest.mark.parametrize("style", [SEND, VERIFY], ids=["send", "verify"])
def test_errors(kind: ErrorKind, style: Any) -> None:  # noqa: ANN401 - a style
    response = style.render(ApiError(kind))
    words = {
        ErrorKind.INTERNAL: "INTERNAL_ERROR",
        ErrorKind.MALFORMED: "MAL_FORMED_REQUEST",
        ErrorKind.NOT_FOUND: "SERVICE_NOT_FOUND",
        ErrorKind.PARAMETER_MISSING: "MISSING_PARAM",
    }
    failed = style is SEND and kind is ErrorKind.INTERNAL
    assert said(response) == {
        "__ack__": "otp.send" if style is SEND else "otp.verify",
        "__status__": "offline",
        "__timestamp__": 1_700_000_000_123,
        "data": {"status": "INTERNAL_ERROR"} if failed else [],
        "error": words.get(kind, kind.token.upper()),
        "error_code": kind.http_status,
        "status": kind.http_status,
        "reason": kind.text,
    }
    assert response.status == kind.http_status
    if response.status == 401:
        assert "WWW-Authenticate" in dict(response.headers)


def test_words_of_the_contract() -> None:
    assert said(SEND.render(ApiError(ErrorKind.INVALID_SOCKET)))["error"] == "INVALID_SOCKET"
    missing = ApiError(ErrorKind.PARAMETER_MISSING, "email is mandatory")
    answer = said(SEND.render(missing))
    assert (answer["error"], answer["status"]) == ("MISSING_PARAM: email is mandatory", 412)


def test_reasons() -> None:
    weak = ServiceError.to(ErrorKind.WEAK_PASSWORD, {"password": ["Too short.", "b"]}, online=True)
    answer = said(SEND.render(weak))
    assert (answer["error"], answer["reason"]) == ("WEAK_PASSWORD", ["Too short.", "b"])
    assert answer["__status__"] == "online"
    answer = said(SEND.render(ApiError(ErrorKind.MALFORMED, "The form cannot be read.")))
    assert answer["reason"] == "The form cannot be read."


def test_a_refusal_by_limits() -> None:
    quota = Quota("code-account-60", 6, 60_000, 0, 41_500)
    refused = ProcessRefused(
        ErrorKind.RATE_LIMITED,
        Reason.PROCESS_LIMIT,
        41_500,
        violated=("code-account-60",),
        quotas=Quotas([quota]),
    )
    response = SEND.render(ServiceError.refusing(refused, online=False))
    assert said(response)["error"] == "RATE_LIMITED"
    assert dict(response.headers) == {
        "RateLimit-Policy": '"code-account-60";q=6;w=60',
        "RateLimit": '"code-account-60";r=0;t=42',
        "Retry-After": "42",
    }


def test_a_plain_refusal() -> None:
    refused = Refused(ErrorKind.OVERLOADED, Reason.LIMITER_FULL, 1000)
    error = ServiceError.refusing(refused, online=True)
    response = VERIFY.render(error)
    assert said(response)["error"] == "OVERLOADED"
    assert said(response)["__status__"] == "online"
    assert dict(response.headers) == {"Retry-After": "1"}
    assert Reason.LIMITER_FULL not in response.body.decode()
