"""What a tenant without settings begins with, so that its first call works.

``email-verification`` over e-mail, and ``phone-verification`` over SMS with e-mail as its second
route, for processes that have both contacts. Both have numeric codes of 6 for ten minutes.
"""

from __future__ import annotations

from otp_server.domain.challenge_type import ChallengeType, Channel, CodeType, Template

SUBJECT = "Your confirmation code"
EMAIL_TEXT = """\
Your confirmation code is ${answer}

It works once, within ${minutes} min. We never ask for it: do not share it with anyone.

If you did not ask for a code, ignore this message.
"""
SMS_TEXT = "Your code: ${answer}. Works ${minutes} min. Do not share it."
_TTL_S = 600
_CODE_LENGTH = 6
_MAX_ATTEMPTS = 5


def examples(tenant: str, now_ms: int) -> list[tuple[ChallengeType, list[Template]]]:
    """Each type with the templates of its routes, in sending order; all ids are 0."""

    def challenge_type(name: str) -> ChallengeType:
        return ChallengeType(
            id=0,
            tenant=tenant,
            name=name,
            code_type=CodeType.NUMERIC,
            code_length=_CODE_LENGTH,
            ttl=_TTL_S,
            max_attempts=_MAX_ATTEMPTS,
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
        )

    def template(name: str, channel: Channel) -> Template:
        is_sms = channel is Channel.SMS
        return Template(
            id=0,
            tenant=tenant,
            name=name,
            channel=channel,
            subject="" if is_sms else SUBJECT,
            text=SMS_TEXT if is_sms else EMAIL_TEXT,
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
        )

    return [
        (
            challenge_type("email-verification"),
            [template("email-verification", Channel.EMAIL)],
        ),
        (
            challenge_type("phone-verification"),
            [
                template("phone-verification-sms", Channel.SMS),
                template("phone-verification-email", Channel.EMAIL),
            ],
        ),
    ]
