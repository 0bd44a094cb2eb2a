"""Templates: filled in once (requirement 82), measured when saved, bound to a domain (83)."""

from __future__ import annotations

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_server.domain.challenge_type import Channel
from otp_server.domain.template import (
    NAMES,
    ORIGIN_BOUND_BYTES_MAX,
    Values,
    compose,
    minutes_of,
    origin_bound,
    render,
    render_html,
    subject_problems,
    text_problems,
)

VALUES = Values.of(
    answer="012345",
    type_name="phone-verification",
    lifetime_ms=600_000,
    contact="+12025550123",
    domain="example.com",
)


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
    assert render(template, VALUES) == expected


@pytest.mark.parametrize(
    ("lifetime_ms", "minutes"), [(1, 1), (60_000, 1), (60_001, 2), (600_000, 10), (0, 1)]
)
def test_minutes_are_rounded_up(lifetime_ms: int, minutes: int) -> None:
    assert minutes_of(lifetime_ms) == minutes


@given(st.lists(st.one_of(st.sampled_from(NAMES), st.text(max_size=8)), max_size=8), st.data())
def test_values_are_not_read_again(pieces: list[str], data: st.DataObject) -> None:
    tricky = st.sampled_from(["${answer}", "${type}", "${", "$", "x", "<b>&", "\n\n", "${domain"])
    answer, of_type, contact, domain = (data.draw(tricky) for _ in range(4))
    values = Values(answer, of_type, 10, contact, domain)
    literals = [piece.replace("$", "").replace("{", "") for piece in pieces]
    template = "".join(
        f"${{{piece}}}" if piece in NAMES else literal
        for piece, literal in zip(pieces, literals, strict=True)
    )
    expected = [
        str(getattr(values, piece)) if piece in NAMES else literal
        for piece, literal in zip(pieces, literals, strict=True)
    ]
    assert render(template, values) == "".join(expected)


def test_an_unknown_name_does_not_render() -> None:
    with pytest.raises(KeyError):
        render("${__class__}", VALUES)
    with pytest.raises(KeyError):
        render_html("${__class__}", VALUES)


def test_html_is_escaped_and_the_code_is_strong() -> None:
    values = Values("<1>", "a&b", 10, "'c'", 'd"')
    template = "Hi <i>\n${answer} of ${type}\n\n\n${contact} & ${domain}\n"
    assert render_html(template, values) == (
        '<!DOCTYPE html><html><head><meta charset="utf-8"></head><body>'
        "<p>Hi &lt;i&gt;<br><strong>&lt;1&gt;</strong> of a&amp;b</p>"
        "<p>&#x27;c&#x27; &amp; d&quot;</p></body></html>"
    )


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_markup_comes_out_of_words(text: str, value: str) -> None:
    page = render_html(text.replace("$", ""), Values(value, value, 1, value, value))
    inner = page.partition("<body>")[2].rpartition("</body>")[0]
    for ours in ("<p>", "</p>", "<br>"):
        inner = inner.replace(ours, "")
    assert "<" not in inner
    assert ">" not in inner
    assert html.unescape(inner).replace("\n", "") == text.replace("$", "").replace("\n", "")


def test_words_and_values_show_no_code_and_no_contact() -> None:
    words = compose(Channel.EMAIL, "For ${type}", "${answer} ${contact}", VALUES)
    for shown in (repr(words), repr(VALUES), str(words)):
        assert "012345" not in shown
        assert "+1****" not in shown


def test_an_email_has_subject_text_and_html() -> None:
    words = compose(Channel.EMAIL, "For ${type}", "Code ${answer}", VALUES)
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
    values = Values("012345", "t", 10, "c", domain)
    words = compose(Channel.SMS, "", text, values)
    assert (words.subject, words.text, words.html) == ("", expected, None)


@given(st.text(max_size=200))
def test_the_origin_bound_line_is_there_once_and_fits(text: str) -> None:
    once = origin_bound(text, domain="example.com", code="012345")
    assert origin_bound(once, domain="example.com", code="012345") == once
    values = Values("012345", "t", 10, "c", "example.com")
    sent = compose(Channel.SMS, "", text.replace("$", ""), values).text
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
        values = Values("012345", "t", 10, "c", domain)
        assert "012345" in compose(channel, "s", template, values).text


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
