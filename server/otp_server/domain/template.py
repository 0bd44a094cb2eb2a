"""The words of messages: ``${name}`` is filled in once, and nothing else is done to them.

=============  ==================================================================
``${answer}``   the code
``${type}``     the name of the challenge type
``${minutes}``  how long the code is good, in minutes, rounded up
``${contact}``  the contact it goes to, masked
``${domain}``   the installation's domain (``rest.sms_origin``), empty when it has none
=============  ==================================================================

A ``$`` that no ``{`` follows is a dollar. What was filled in is not looked at again, so a value
that reads ``${answer}`` stays as it is (requirement 82). A template that was saved has no problem,
and one without problems renders always; a template is data, and can run nothing.

Where the installation has a domain, an SMS ends with the origin-bound line ``@domain #code`` (83),
from which browsers and telephones offer the code on that site only.
"""

from __future__ import annotations

import html
import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from otp_server.domain.challenge_type import Channel
from otp_server.domain.sms_length import segments

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_Form: TypeAlias = tuple[tuple[str, ...], ...]
"""A text cut where the contact is named, and its parts where the code is."""

NAMES: Final = ("answer", "type", "minutes", "contact", "domain")
SUBJECT_CHARACTERS_MAX = 200
TEXT_CHARACTERS_MAX = 10_000
SMS_SEGMENTS_MAX = 3
ORIGIN_BOUND_BYTES_MAX = 140
"""What Android's SMS Retriever still reads; one segment, whatever its alphabet."""

PASSCODE_LENGTH_MAX = 32  # of the core

_VARIABLE = re.compile(r"\$\{([^{}]*)(\}?)")
_MS_PER_MINUTE = 60_000
_LONGEST_TYPE = "W" * 63
_LONGEST_MINUTES = "1440"
_LONGEST_PHONE = "+" + "0" * 15
_USUAL_CODE_LENGTH = 10
"""Where the 140 bytes are concerned; the line of a longer code is left out when it does not fit."""
_DRAFTS_HELD = 256
"""Those in use, of templates of 10 000 characters at most."""
_SHOWN_MAX = 40
_PROBLEMS_MAX = 5


class Words(msgspec.Struct, frozen=True, gc=False):
    """A message's words, the code in them: never stored, never logged."""

    subject: str
    text: str
    html: str | None

    def __repr__(self) -> str:
        """Without any of them."""
        return "<Words>"


class Draft(msgspec.Struct, frozen=True, gc=False):
    """A message's words without what is its receiver's alone: the code and the contact."""

    subject: _Form
    text: _Form
    html: _Form | None
    """None: it is an SMS."""
    domain: str
    names_contact: bool

    def words(self, answer: str, contact: str) -> Words:
        """The words of one message. ``contact`` is masked; any text where it is not named."""
        text = _filled(self.text, answer, contact)
        if self.html is None:
            return Words("", _sms(text, self.domain, answer) if self.domain else text, None)
        subject = _filled(self.subject, answer, contact)
        return Words(subject, text, _filled(self.html, _as_html(answer), _as_html(contact)))


def minutes_of(lifetime_ms: int) -> int:
    """The lifetime in minutes, rounded up, at least one."""
    return -(-lifetime_ms // _MS_PER_MINUTE) if lifetime_ms > 0 else 1


@lru_cache(_DRAFTS_HELD)
def draft(
    channel: Channel, subject: str, text: str, type_name: str, minutes: int, domain: str
) -> Draft:
    """A saved template's ``subject`` and ``text``, for all messages of a type and a minute.

    KeyError for a name that is none of ours.
    """
    given = {"type": type_name, "minutes": str(minutes), "domain": domain}
    words = _form(_cut(text), given)
    if channel is Channel.SMS:
        return Draft((), words, None, domain, len(words) > 1)
    title = _form(_cut(subject), given)
    escaped = {name: _as_html(value) for name, value in given.items()}
    page = _form(_html_pieces(text), escaped)
    return Draft(title, words, page, domain, len(words) > 1 or len(title) > 1)


def origin_bound(text: str, *, domain: str, code: str) -> str:
    """An SMS with its last line ``@domain #code``; never two, and none without a domain."""
    line = f"@{domain} #{code}"
    if not domain or text.rstrip().rpartition("\n")[2] == line:
        return text
    return f"{text.rstrip()}\n{line}"


def subject_problems(channel: Channel, subject: str) -> list[str]:
    """What is wrong with a template's subject; empty when nothing is."""
    if channel is not Channel.EMAIL:
        return ["an SMS has no subject: leave it empty"] if subject else []
    if not subject.strip():
        return ["an e-mail needs a subject"]
    if len(subject) > SUBJECT_CHARACTERS_MAX:
        return [f"it has more than {SUBJECT_CHARACTERS_MAX} characters"]
    if _has_unfit(subject, allowed=""):
        return ["a subject is one line, without control characters"]
    return _variable_problems(subject)


def text_problems(channel: Channel, text: str, *, domain: str) -> list[str]:
    """What is wrong with a template's text; empty when nothing is.

    An SMS is measured with the longest values and the origin-bound line of ``domain``.
    """
    if len(text) > TEXT_CHARACTERS_MAX:
        return [f"it has more than {TEXT_CHARACTERS_MAX} characters"]
    if _has_unfit(text, allowed="\n\t"):
        return ["it holds control characters; lines end with a line feed alone"]
    problems = _variable_problems(text)
    if "${answer}" not in text:
        problems.append("it must hold ${answer}: the place of the code")
    if "${domain}" in text and not domain:
        problems.append("it holds ${domain}, but this installation has none (rest.sms_origin)")
    if channel is Channel.SMS and not problems:
        problems += _sms_problems(text, domain)
    return problems


def _sms(text: str, domain: str, code: str) -> str:
    """A text saved before the installation had its domain may be too long for the line."""
    whole = origin_bound(text, domain=domain, code=code)
    return text if len(whole.encode()) > ORIGIN_BOUND_BYTES_MAX else whole


def _sms_problems(text: str, domain: str) -> Iterator[str]:
    usual = len(_measured(text, domain, _USUAL_CODE_LENGTH).encode())
    if domain and usual > ORIGIN_BOUND_BYTES_MAX:
        yield (
            f"with a code of {_USUAL_CODE_LENGTH} and the line @{domain} #code it may have {usual} "
            f"bytes; telephones read at most {ORIGIN_BOUND_BYTES_MAX}: shorten it"
        )
    needed = segments(_measured(text, domain, PASSCODE_LENGTH_MAX))
    if needed > SMS_SEGMENTS_MAX:
        yield (
            f"with its longest values it takes {needed} SMS, and at most {SMS_SEGMENTS_MAX} are "
            "sent: shorten it, or use the characters of the GSM alphabet only"
        )


def _measured(text: str, domain: str, code_length: int) -> str:
    """The SMS with a code of this length, and the longest of all other values."""
    code = "W" * code_length
    given = {"type": _LONGEST_TYPE, "minutes": _LONGEST_MINUTES, "domain": domain}
    longest = _filled(_form(_cut(text), given), code, _LONGEST_PHONE)
    return origin_bound(longest, domain=domain, code=code)


def _variable_problems(template: str) -> list[str]:
    problems: dict[str, None] = {}  # each once, in order
    for found in _VARIABLE.finditer(template):
        if not found[2]:
            problems["${ is not followed by a name and }"] = None
        elif found[1] not in NAMES:
            known = ", ".join(f"${{{name}}}" for name in NAMES)
            problems[f"${{{found[1][:_SHOWN_MAX]}}} is unknown: use one of {known}"] = None
    return list(problems)[:_PROBLEMS_MAX]


def _html_pieces(template: str) -> Iterator[tuple[str, bool]]:
    """As ``_cut``, of its HTML document: the template's own words are text too, and are escaped.

    Blank lines part paragraphs; the code is strong.
    """
    yield '<!DOCTYPE html><html><head><meta charset="utf-8"></head><body>', False
    for paragraph in re.split(r"\n{2,}", template.strip("\n")):
        yield "<p>", False
        for piece, is_name in _cut(paragraph):
            if is_name and piece == "answer":
                yield from (("<strong>", False), (piece, True), ("</strong>", False))
            else:
                yield piece if is_name else _as_html(piece), is_name
        yield "</p>", False
    yield "</body></html>", False


def _form(pieces: Iterable[tuple[str, bool]], given: Mapping[str, str]) -> _Form:
    """The pieces with what is given; KeyError for another name than the two left out."""
    form = [[""]]
    for piece, is_name in pieces:
        if not is_name:
            form[-1][-1] += piece
        elif piece == "contact":
            form.append([""])
        elif piece == "answer":
            form[-1].append("")
        else:
            form[-1][-1] += given[piece]
    return tuple([tuple(part) for part in form])


def _filled(form: _Form, answer: str, contact: str) -> str:
    if len(form) == 1:  # most texts name no contact
        return answer.join(form[0])
    return contact.join(map(answer.join, form))


def _cut(template: str) -> Iterator[tuple[str, bool]]:
    """The template in order: literal text with False, the names of variables with True."""
    at = 0
    for found in _VARIABLE.finditer(template):
        yield template[at : found.start()], False
        yield found[1], True
        at = found.end()
    yield template[at:], False


def _as_html(text: str) -> str:
    if not text or text.isalnum():  # as codes and numbers are
        return text
    return html.escape(text).replace("\n", "<br>")


def _has_unfit(text: str, *, allowed: str) -> bool:
    return any(
        c not in allowed and unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text
    )
