"""Templates: filled in once (requirement 82), measured when saved, bound to a domain (83)."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_server.domain.challenge_type import Channel
from otp_server.domain.template import (
    NAMES,
    ORIGIN_BOUND_BYTES_MAX,
    Words,
    draft,
    minutes_of,
    origin_bound,
    subject_problems,
    text_problems,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

VALUES = {
    "answer": "012345",
    "type": "phone-verification",
    "minutes": "10",
    "contact": "+1********23",
    "domain": "example.com",
}


def composed(
    channel: Channel, subject: str, text: str, values: Mapping[str, str] = VALUES
) -> Words:
    drawn = draft(channel, subject, text, values["type"], int(values["minutes"]), values["domain"])
    return drawn.words(values["answer"], values["contact"])


def rendered(template: str, values: Mapping[str, str] = VALUES) -> str:
    words = composed(Channel.EMAIL, template, template, values)
    assert words.subject == words.text
    return words.text


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("${answer}", "012345"),
        ("a ${answer} b ${answer}", "a 012345 b 012345"),
        (
            "${type} ${minutes} ${contact} ${domain}",
            "phone-verification 10 +1********23 example.com",
        ),
        ("$5, $answer, $$ and } {", "$5, $answer, $$ and } {"),
        ("$${answer}", "$012345"),
        ("", ""),
        ("%s {answer} {{answer}} <b>", "%s {answer} {{answer}} <b>"),
    ],
)
def test_render(template: str, expected: str) -> None:
    assert rendered(template) == expected


@pytest.mark.parametrize(
    ("lifetime_ms", "minutes"),
    [(1, 1), (60_000, 1), (60_001, 2), (600_000, 10), (0, 1), (-120_000, 1)],
)
def test_minutes_are_rounded_up(lifetime_ms: int, minutes: int) -> None:
    assert minutes_of(lifetime_ms) == minutes


@given(st.lists(st.one_of(st.sampled_from(NAMES), st.text(max_size=8)), max_size=8), st.data())
def test_values_are_not_read_again(pieces: list[str], data: st.DataObject) -> None:
    tricky = st.sampled_from(["${answer}", "${type}", "${", "$", "x", "<b>&", "\n\n", "${domain"])
    answer, of_type, contact, domain = (data.draw(tricky) for _ in range(4))
    values = {
        "answer": answer,
        "type": of_type,
        "minutes": "10",
        "contact": contact,
        "domain": domain,
    }
    literals = [piece.replace("$", "").replace("{", "") for piece in pieces]
    template = "".join(
        f"${{{piece}}}" if piece in NAMES else literal
        for piece, literal in zip(pieces, literals, strict=True)
    )
    expected = [
        values[piece] if piece in NAMES else literal
        for piece, literal in zip(pieces, literals, strict=True)
    ]
    assert rendered(template, values) == "".join(expected)
    drawn = draft(Channel.EMAIL, "", template, of_type, 10, domain)
    assert drawn.names_contact is ("contact" in pieces)


def test_an_unknown_name_does_not_render() -> None:
    for channel in Channel:
        with pytest.raises(KeyError):
            composed(channel, "", "${__class__}")
    with pytest.raises(KeyError):
        composed(Channel.EMAIL, "${__class__}", "")


def test_html_is_escaped_and_the_code_is_strong() -> None:
    values = {"answer": "<1>", "type": "a&b", "minutes": "10", "contact": "'c'", "domain": 'd"'}
    template = "Hi <i>\n${answer} of ${type}\n\n\n${contact} & ${domain}\n"
    assert composed(Channel.EMAIL, "", template, values).html == (
        '<!DOCTYPE html><html><head><meta charset="utf-8"></head><body>'
        "<p>Hi &lt;i&gt;<br><strong>&lt;1&gt;</strong> of a&amp;b</p>"
        "<p>&#x27;c&#x27; &amp; d&quot;</p></body></html>"
    )


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_markup_comes_out_of_words(text: str, value: str) -> None:
    values = {**dict.fromkeys(NAMES, value), "minutes": "1"}
    page = composed(Channel.EMAIL, "", text.replace("$", ""), values).html or ""
    inner = page.partition("<body>")[2].rpartition("</body>")[0]
    for ours in ("<p>", "</p>", "<br>"):
        inner = inner.replace(ours, "")
    assert "<" not in inner
    assert ">" not in inner
    assert html.unescape(inner).replace("\n", "") == text.replace("$", "").replace("\n", "")


def test_words_show_no_code_and_no_contact() -> None:
    words = composed(Channel.EMAIL, "For ${type}", "${answer} ${contact}")
    for shown in (repr(words), str(words)):
        assert "012345" not in shown
        assert "+1****" not in shown


def test_an_email_has_subject_text_and_html() -> None:
    words = composed(Channel.EMAIL, "For ${type}", "Code ${answer}")
    assert words.subject == "For phone-verification"
    assert words.text == "Code 012345"
    assert words.html is not None
    assert "<strong>012345</strong>" in words.html


@pytest.mark.parametrize(
    ("text", "domain", "expected"),
    [
        ("Code ${answer}", "example.com", "Code 012345\n@example.com #012345"),
        ("Code ${answer}\n\n", "example.com", "Code 012345\n@example.com #012345"),
        ("Code ${answer}", "", "Code 012345"),
        (
            "Code ${answer}\n@${domain} #${answer}\n",
            "example.com",
            "Code 012345\n@example.com #012345\n",
        ),
        ("Code ${answer}" + "x" * 120, "example.com", "Code 012345" + "x" * 120),
    ],
)
def test_an_sms_ends_with_the_origin_bound_line(text: str, domain: str, expected: str) -> None:
    words = composed(Channel.SMS, "", text, {**VALUES, "domain": domain})
    assert (words.subject, words.text, words.html) == ("", expected, None)


@given(st.text(max_size=200))
def test_the_origin_bound_line_is_there_once_and_fits(text: str) -> None:
    once = origin_bound(text, domain="example.com", code="012345")
    assert origin_bound(once, domain="example.com", code="012345") == once
    sent = composed(Channel.SMS, "", text.replace("$", "")).text
    if sent != text.replace("$", ""):
        assert len(sent.encode(errors="surrogatepass")) <= ORIGIN_BOUND_BYTES_MAX
        assert sent.endswith("\n@example.com #012345")


@pytest.mark.parametrize(
    ("channel", "text", "domain", "message"),
    [
        (Channel.EMAIL, "no place", "", "must hold ${answer}"),
        (Channel.SMS, "$answer", "", "must hold ${answer}"),
        (Channel.EMAIL, "${answer} ${name}", "", "${name} is unknown"),
        (Channel.EMAIL, "${answer} ${ answer }", "", "${ answer } is unknown"),
        (Channel.EMAIL, "${answer} ${answer.__class__}", "", "is unknown"),
        (Channel.EMAIL, "${answer} ${", "", "not followed by a name"),
        (Channel.EMAIL, "${answer} ${${answer}}", "", "not followed by a name"),
        (Channel.EMAIL, "${answer}\r\n", "", "control characters"),
        (Channel.SMS, "${answer}\x00", "", "control characters"),
        (Channel.SMS, "${answer}\ud800", "", "control characters"),
        (Channel.EMAIL, "${answer} ${domain}", "", "rest.sms_origin"),
        (Channel.EMAIL, "${answer}" + "x" * 10_000, "", "more than 10000"),
        (Channel.SMS, "${answer}" + "x" * (3 * 153 - 31), "", "takes 4 SMS"),
        (Channel.SMS, "${answer}" + "ж" * (3 * 67 - 31), "", "takes 4 SMS"),
        (Channel.SMS, "${answer} ${type}" + "ж" * 110, "", "takes 4 SMS"),
        (Channel.SMS, "${answer}" + "x" * 106, "example.com", "141 bytes"),
        (Channel.SMS, "${answer}" + "ж" * 53, "example.com", "141 bytes"),
    ],
)
def test_what_is_wrong_with_a_text(channel: Channel, text: str, domain: str, message: str) -> None:
    problems = text_problems(channel, text, domain=domain)
    assert [problem for problem in problems if message in problem], problems


@pytest.mark.parametrize(
    ("channel", "text", "domain"),
    [
        (Channel.EMAIL, "Line\n\n\t${answer} for $5", ""),
        (Channel.EMAIL, "${answer}" * 100 + "ж" * 5000, "example.com"),
        (Channel.SMS, "${answer} ${type} ${minutes} ${contact}", ""),
        (Channel.SMS, "${answer}" + "x" * (3 * 153 - 32), ""),
        (Channel.SMS, "${answer}" + "ж" * (3 * 67 - 32), ""),
        (Channel.SMS, "${answer}" + "x" * 105, "example.com"),
        (Channel.SMS, "${answer}\n@${domain} #${answer}", "example.com"),
    ],
)
def test_nothing_is_wrong_with_these(channel: Channel, text: str, domain: str) -> None:
    assert text_problems(channel, text, domain=domain) == []


@given(st.text(max_size=60), st.sampled_from(["", "example.com"]), st.sampled_from(Channel))
def test_what_has_no_problem_renders(text: str, domain: str, channel: Channel) -> None:
    template = f"{text}${{answer}}{text[::-1]}"
    if not text_problems(channel, template, domain=domain):
        values = {**VALUES, "domain": domain}
        assert "012345" in composed(channel, "s", template, values).text


def test_problems_are_bounded() -> None:
    many = "${answer}" + "".join(f"${{n{at}}}" for at in range(1000))
    assert len(text_problems(Channel.EMAIL, many, domain="")) <= 6
    assert "x" * 41 not in str(text_problems(Channel.EMAIL, f"${{{'x' * 5000}}}", domain=""))


@pytest.mark.parametrize(
    ("channel", "subject", "message"),
    [
        (Channel.SMS, "Hello", "no subject"),
        (Channel.EMAIL, "", "needs a subject"),
        (Channel.EMAIL, "  ", "needs a subject"),
        (Channel.EMAIL, "a\nBcc: x@example.com", "one line"),
        (Channel.EMAIL, "a\r", "one line"),
        (Channel.EMAIL, "a\u2028b", "one line"),
        (Channel.EMAIL, "a\x00", "one line"),
        (Channel.EMAIL, "x" * 201, "more than 200"),
        (Channel.EMAIL, "${code}", "unknown"),
    ],
)
def test_what_is_wrong_with_a_subject(channel: Channel, subject: str, message: str) -> None:
    [problem] = subject_problems(channel, subject)
    assert message in problem


def test_good_subjects() -> None:
    assert subject_problems(Channel.SMS, "") == []
    assert subject_problems(Channel.EMAIL, "Код для ${type} \U0001f511") == []
