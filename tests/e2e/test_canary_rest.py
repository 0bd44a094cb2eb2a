"""No code, contact, token, secret or key of the REST face where it must not be (6, 10, 66, 86).

One run does all that a back end, a stranger and a provider may do, and keeps every code, contact
and token; then everything written, logged, measured and refused is searched for them. Codes have
ten symbols here, so that finding one by chance is out of the question.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import trio

from otp_server.core import Keyring
from otp_server.delivery.webhook import WebhookSender
from otp_server.services.attempts import AttemptService
from otp_server.services.search import SearchService
from otp_server.services.settings import SettingsService
from otp_server.services.starts import Handshake, StartService
from tests.support.back_end import BackEnd, add_key, open_back_end
from tests.support.canaries import leaks
from tests.support.observe import until
from tests.support.process_world import ProcessWorld, attempt, init
from tests.support.rest_providers import PROVIDERS, Script, Stage, code_of_mail, open_stage
from tests.support.scripted_http import ScriptedHttp, answer
from tests.support.scripted_smtp import ScriptedSmtp
from tests.support.secret_places import key_bytes, written
from tests.support.served import captured_logs, serve
from tests.support.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

TEST_S = 80.0
PLENTY = """
limits = [[1000, 60]]
attempts_per_address = [[1000, 60]]
"""
EMAIL, OTHER_EMAIL = "canary.person@example.com", "canary.other@example.com"
PHONE, PHONE_AS_TYPED = "+4917055512345", "0049 170 555 12345"
OTHER_PHONE = "+4917055554321"
CONTACTS = [EMAIL, OTHER_EMAIL, PHONE, PHONE[1:], PHONE[3:], PHONE_AS_TYPED, OTHER_PHONE]
WRONG = "4815162342"


class Play:
    """Every secret that comes up, and every answer that is an error."""

    def __init__(self, stage: Stage, client_secret: str) -> None:
        self.stage = stage
        self.codes = [WRONG]
        self.secrets: list[str] = [
            client_secret,
            stage.back_end.token,
            stage.back_end.token.split(".")[2],
        ]
        self.errors = b""
        self.answers = b""

    def keep(self, response: httpx2.Response) -> httpx2.Response:
        said = f"{response.status_code} {response.headers}\n".encode() + response.content
        if response.is_error:
            self.errors += said
        self.answers += said
        return response

    async def call(self, method: str, path: str, body: object = None, **more: Any) -> Any:  # noqa: ANN401 - JSON
        response = self.keep(await self.stage.back_end.call(method, path, body, **more))
        return response.json()

    async def begin(self, type_name: str, **contacts: str) -> str:
        said = await self.call("POST", "/otp/init", {"type": type_name, **contacts})
        return str(said["data"]["uuid"])

    async def try_code(self, uuid: str, code: str) -> Any:  # noqa: ANN401 - JSON
        self.codes.append(code)
        return await self.call("PUT", f"/otp/{uuid}/attempt", {"code": code})

    async def run(self) -> None:
        await self.failing_providers()
        await self.good_and_bad_codes()
        await self.bad_requests()
        await self.bad_tokens()

    async def failing_providers(self) -> None:
        """Each says the code and the contact in its refusal, after having read them."""
        stage = self.stage
        stage.sms.answers = deque([answer(429, Retry_After="1")])
        stage.mail.on_point = self.quote_mail
        uuid = await self.begin("both", mobilePhone=PHONE_AS_TYPED, email=EMAIL)
        await until(lambda: bool(stage.sms.requests), 20)
        asked = stage.sms.requests[0].body
        stage.sms.answers = deque([answer(400, asked, X_Said=PHONE)])
        shown = await stage.settled("both", uuid)
        assert [each["status"] for each in shown["deliveries"]] == ["failed", "failed"]
        self.codes += [*stage.sms_of(uuid)[:1], *stage.mails_of(uuid, seen=True)]
        assert len(self.codes) == 3
        await self.try_code(uuid, self.codes[-1])
        stage.sms.answers = deque([answer(200, asked)])
        stage.mail.on_point = lambda point: None
        stage.mail.script.clear()

    def quote_mail(self, point: str) -> None:
        mail = self.stage.mail
        if point == ".":
            code = code_of_mail(mail.seen[-1])
            mail.script["."] = f"554 5.7.1 the code {code} for <{EMAIL}> is spam"

    async def good_and_bad_codes(self) -> None:
        stage = self.stage
        for type_name, channel, contacts in (
            ("both", "sms", {"mobilePhone": PHONE, "email": EMAIL}),
            ("mixed", "email", {"email": OTHER_EMAIL}),
        ):
            uuid = await self.begin(type_name, **contacts)
            await stage.settled(type_name, uuid)
            await self.call("POST", "/otp/handshake", {"type": type_name, **contacts})
            codes = stage.sms_of(uuid) if channel == "sms" else stage.mails_of(uuid)
            typed = (WRONG, f"{codes[-1][:5]} {codes[-1][5:]}", codes[-1])
            said = [(await self.try_code(uuid, code))["data"] for code in typed]
            assert said == [{"accepted": False}, {"accepted": True}, None]
            field = "mobilePhone" if channel == "sms" else "email"
            await self.call("GET", f"/otp/{type_name}", params={field: contacts[field]})
            await self.call("POST", f"/otp/{type_name}", {field: contacts[field]})
        made = await self.call(
            "POST", "/api/otp/crud/challenge-types", {"name": "canary", "code_length": 12}
        )
        one = f"/api/otp/crud/challenge-types/{made['data']['id']}"
        await self.call("PATCH", one, {"ttl": 60})
        await self.call("DELETE", one)

    async def bad_requests(self) -> None:
        """A live code and its contact, wherever they do not belong."""
        stage = self.stage
        uuid = await self.begin("both", mobilePhone=OTHER_PHONE)
        await until(lambda: len(stage.sms_of(uuid)) == 1, 20)
        code = stage.sms_of(uuid)[0]
        self.codes.append(code)
        path = f"/otp/{uuid}/attempt"
        for body in (
            {"code": int(code)},
            {"code": [code]},
            {"code": code * 20},
            {"code": f"{code}\x00"},
            {"type": "both", "email": f"{code}@"},
            {"type": "both", "mobilePhone": f"{OTHER_PHONE}{code}"},
            {"type": f"both {code}", "email": EMAIL},
            {"type": code, "email": EMAIL},
            {"type": "both", "email": EMAIL, "entities": [{"type": f"{code}\n", "id": EMAIL}]},
            {"name": f"{code} {EMAIL}", "code_type": code, "ttl": code},
            {"name": "x", "channel": code, "text": "${" + code + "}", "subject": "\n" + code},
            code,
        ):
            for method, where in (
                ("PUT", path),
                ("POST", "/otp/init"),
                ("POST", "/otp/handshake"),
                ("POST", "/otp/both"),
                ("POST", "/api/otp/crud/challenge-types"),
                ("POST", "/api/otp/crud/templates"),
            ):
                await self.call(method, where, body)
        http, sent = stage.back_end.http, {"bsauth": stage.back_end.token}
        for content in (
            f'{{"code": "{code}"',
            f'{{"code": "{code}", "code": "{code}"}}',
            f'{{"code": "{code}'.encode() + b"\xff",
            (code + EMAIL) * 5000,
        ):
            for headers in (sent, {**sent, "Content-Type": "application/json"}):
                self.keep(await http.put(path, content=content, headers=headers))
        for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"):
            for where in (f"/otp/{code}", f"/otp/{code}/attempt", f"/{EMAIL}/{code}", "/otp/init"):
                params = {"email": f"{code}@", "limit": code, "mobilePhone": code}
                self.keep(await http.request(method, where, params=params, headers=sent))
        names = {code: [PHONE], EMAIL: code}
        # The caller's own field names are told back to it, so these are only not to be written.
        await stage.back_end.call("PUT", path, {"code": code[:9], **names})
        await stage.back_end.call("GET", "/otp/both", params={code: code, EMAIL: PHONE})

    async def bad_tokens(self) -> None:
        token, http = self.stage.back_end.token, self.stage.back_end.http
        for headers in (
            {"bsauth": f"{token}x"},
            {"Authorization": f"Bearer {token}.{token}"},
            {"Authorization": f"Basic {token}"},
            {"bsauth": token, "Authorization": f"Bearer {token}x"},
            {"bsauth": token, "Idempotency-Key": f"{token} {self.codes[-1]}"},
        ):
            body = {"type": "both", "email": EMAIL}
            self.keep(await http.post("/otp/init", json=body, headers=headers))
        for form in (
            {"grant_type": token, "client_id": self.secrets[0]},
            {"grant_type": "client_credentials", "client_id": token, "client_secret": token},
            {"grant_type": "client_credentials", "client_id": "x", "scope": self.secrets[0]},
        ):
            self.keep(await http.post("/oauth/token", data=form))
            self.keep(await http.post("/oauth/token", params=form))


async def test_nothing_secret_is_written_anywhere(tmp_path: Path) -> None:
    script = Script(timeout_s=5, rest=PLENTY)
    with trio.fail_after(TEST_S):
        async with open_stage(tmp_path / "server", script) as stage:
            back_end, server = stage.back_end, stage.server
            await back_end.add_type("both", [("sms", 5), ("email", 5)], code_length=10)
            await back_end.add_type(
                "mixed", [("email", 5)], code_length=10, code_type="unambiguous"
            )
            play = Play(stage, stage.client_secret)
            await play.run()
            metrics = httpx2.get(f"{server.ops_url}/metrics", trust_env=False).content
            running = written(server)
            await trio.to_thread.run_sync(server.kill)
            killed = written(server)
            await trio.to_thread.run_sync(server.start)
        stopped = written(server)
    assert {"otp.db", "otp.db-wal", "log.jsonl"} <= running.keys()
    assert b"otp_deliveries_total" in metrics
    assert len(set(play.codes)) > 6
    assert play.errors.count(b'"INVALID_FIELDS"') > 20
    assert running["log.jsonl"].count(b'"refused"') > 0
    secrets = [*play.codes, *CONTACTS, *play.secrets, *key_bytes(server)]
    for places in (running, killed, stopped, {"metrics": metrics, "errors": play.errors}):
        assert leaks(secrets, places) == []
    # What was answered well may hold a contact (search), but nothing else.
    kept = [*play.codes, *play.secrets[:1], *key_bytes(server)]
    assert leaks(kept, {"answers": play.answers}) == []


class BugError(Exception):
    """A bug that says more than it should."""


class Bug:
    """Breaks methods as soon as it has a ``text``."""

    text = ""

    def instead_of(self, method: Callable[..., Any]) -> Callable[..., Any]:
        async def broken(*given: object, **named: object) -> Any:  # noqa: ANN401 - the method's own
            if self.text:
                raise RuntimeError(self.text) from BugError(self.text)
            return await method(*given, **named)

        return broken


async def test_a_crash_tells_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In each service and in a sender, with a code, contacts and a token in the text."""
    sms, mail = ScriptedHttp(deque([answer(200)])), ScriptedSmtp()
    server = ServerProcess(
        tmp_path / "server", more=PROVIDERS.format(mail_port=1, sms_port=1, timeout_s=5)
    )
    credentials = await trio.to_thread.run_sync(lambda: add_key(server.config))
    bug = Bug()
    for service, method in (
        (StartService, "start_many"),
        (StartService, "handshake_many"),
        (AttemptService, "attempt_many"),
        (SearchService, "search_many"),
        (SettingsService, "list_all"),
        (SettingsService, "create"),
        (WebhookSender, "send"),
    ):
        monkeypatch.setattr(service, method, bug.instead_of(getattr(service, method)))
    with captured_logs() as logs, trio.fail_after(TEST_S):
        async with (
            serve(server.config) as served,
            open_back_end(served.http_url, credentials) as back_end,
        ):
            text = f"with {WRONG}, {EMAIL}, {PHONE}, {back_end.token} {credentials.client_secret}"

            contact = {"type": "phone-verification", "mobilePhone": PHONE}
            uuid = (await back_end.init(contact)).json()["data"]["uuid"]
            bug.text = text
            await until(lambda: "delivery crashed" in logs.getvalue())
            answers = await crashing(back_end, uuid)
            assert [each.status_code for each in answers] == [500] * len(answers)
            assert {each.json()["error"]["code"] for each in answers} == {"INTERNAL"}
            async with httpx2.AsyncClient(base_url=served.ops_url, trust_env=False) as ops:
                metrics = (await ops.get("/metrics")).content
    assert logs.getvalue().count("BugError") >= len(answers)
    places = {
        "log": logs.getvalue().encode(),
        "metrics": metrics,
        "answers": b"".join(each.content for each in answers),
    }
    secrets = [WRONG, EMAIL, PHONE, back_end.token, credentials.client_secret]
    assert leaks(secrets, places) == []
    assert sms.requests == mail.seen == []


async def crashing(back_end: BackEnd, uuid: str) -> list[httpx2.Response]:
    contact = {"type": "email-verification", "email": EMAIL}
    return [
        await back_end.init(contact),
        await back_end.call("POST", "/otp/handshake", contact),
        await back_end.attempt(uuid, WRONG),
        await back_end.call("GET", "/otp/email-verification", params={"email": EMAIL}),
        await back_end.call("POST", "/otp/email-verification", contact),
        await back_end.call("GET", "/api/otp/crud/templates"),
        await back_end.call("POST", "/api/otp/crud/challenge-types", {"name": "x"}),
    ]


async def test_no_text_form_of_a_command_shows_a_code_or_contact() -> None:
    """Tools print the locals of a traceback's frames; what we pass about says nothing."""
    world = ProcessWorld()
    kind = await world.add_type()
    started = await world.start()
    code = await world.code_of(started.uuid)
    asked: Mapping[str, object] = {
        "start": init(email=EMAIL, phone=PHONE),
        "handshake": Handshake("t", "c", "192.0.2.1", kind.name, PHONE, EMAIL),
        "attempt": attempt(started.uuid, code),
        "process": await world.process(started.uuid),
        "keyring": Keyring([("k1", bytes(32))]),
    }
    told = {name: repr(value).encode() for name, value in asked.items()}
    assert code.encode() not in b"".join(told.values())
    assert leaks([PHONE, EMAIL, bytes(32)], told) == []
