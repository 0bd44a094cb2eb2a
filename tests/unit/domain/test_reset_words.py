"""The words of the svc face's mails, and the language they come in."""

from __future__ import annotations

import time

import pytest

from otp_server.domain.challenge_type import Channel
from otp_server.domain.reset_words import LANGUAGES, choose_language, code_words, notice_words
from otp_server.domain.template import draft, subject_problems, text_problems


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("fr", "fr"),
        ("es-419", "es"),
        ("FR-ch", "fr"),
        ("fr-CH, fr;q=0.9, en;q=0.8, de;q=0.7, *;q=0.5", "fr"),
        ("de-CH,de;q=0.9,es;q=0.3,en;q=0.2", "es"),
        ("en;q=0.3, es;q=0.8, fr;q=0.5", "es"),
        ("es;q=0.5, fr;q=0.5", "es"),
        ("en;q=0.999, fr", "fr"),
        ("fr ; q=0.8 ,\tes; Q=0.9", "es"),
        (", ,fr,,", "fr"),
        ("fr;q=0, es;q=0.001", "es"),
        ("fr;q=0", "en"),
        ("fr-CA;q=0.4, fr-FR;q=0.9, es;q=0.8", "fr"),
        ("fr-CA;q=0.9, fr-FR;q=0.4, es;q=0.8", "fr"),
        ("de, ja", "en"),
        ("*", "en"),
        ("en;q=0, *", "fr"),
        ("en;q=0, fr;q=0.0, *;q=0.7", "es"),
        ("en;q=0.2, *;q=0.7", "fr"),
        ("en;q=0, fr;q=0, es;q=0, *", "en"),
        ("fr;q=0.5, *", "en"),
    ],
)
def test_the_language_is_the_one_wanted_most(header: str, language: str) -> None:
    assert choose_language(header) == language


@pytest.mark.parametrize(
    "header",
    [
        "fr;q=2",
        "fr;q=1.001",
        "fr;q=0.1234",
        "fr;q=-1",
        "fr;q=,es",
        "fr;level=1",
        "fr es",
        "fr;",
        "fr_CH",
        "fränkisch, fr",
        "toolongsubtag, fr",
        "fr;q=0.5;q=0.6",
        "fr;q=0.\u0665",
        "fr\r\nX: y",
        "fr\x00",
        "fr," * 400,
    ],
)
def test_a_malformed_header_means_english(header: str) -> None:
    assert choose_language(header) == "en"


def test_a_long_header_costs_little() -> None:
    """A tiny part of what backtracking would take."""
    begun = time.thread_time()
    choose_language("a-" * 500_000)
    choose_language("a" * 500 + ";" + " " * 400)
    assert time.thread_time() - begun < 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_code_mail_says_everything_and_is_a_template_without_problems(language: str) -> None:
    subject, text = code_words(language)
    assert subject_problems(Channel.EMAIL, subject) == []
    assert text_problems(Channel.EMAIL, text, domain="") == []
    words = draft(Channel.EMAIL, subject, text, "svc", 10, "").words("012345", "")
    assert words.text.splitlines()[0] == words.subject == subject
    assert words.text.count("012345") == 1
    assert "10 min" in words.text
    assert "<strong>012345</strong>" in (words.html or "")
    assert "jana@example.org" not in words.text


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_notice_has_no_code(language: str) -> None:
    subject, text = notice_words(language)
    assert subject_problems(Channel.EMAIL, subject) == []
    assert text_problems(Channel.EMAIL, text, domain="") == [
        "it must hold ${answer}: the place of the code"
    ]
    words = draft(Channel.EMAIL, subject, text, "svc", 10, "").words("012345", "")
    assert words.text.splitlines()[0] == words.subject
    assert "012345" not in words.text + words.subject + (words.html or "")


def test_each_language_has_words_of_its_own() -> None:
    assert code_words("en")[0] == "Your validation code"
    for words in (code_words, notice_words):
        assert len({words(language) for language in LANGUAGES}) == len(LANGUAGES)
