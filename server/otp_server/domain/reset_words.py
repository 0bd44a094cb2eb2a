"""The words of the svc face's mails, and which language a client wants them in.

They are templates of ``domain/template.py``, fixed here: organisations configure none.
"""

from __future__ import annotations

import re
from typing import Final

LANGUAGES: Final = ("en", "fr", "es")
"""What is spoken; the first where nothing else is wanted."""

_HEADER_CHARACTERS_MAX = 1000  # a browser's has some dozens
_EVERYTHING = "*"
_PREFERENCE = re.compile(
    r"(?P<range>[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*|\*)"
    r"(?:[ \t]*;[ \t]*[qQ]=(?P<weight>0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?"
)
"""One element of ``Accept-Language`` (RFC 9110 section 12.5.4)."""

_CODE: Final = {
    "en": (
        "Your validation code",
        "${answer}",
        (
            "It is good for ${minutes} min. Enter it on the page where you asked for it, and give "
            "it to nobody: we never ask for it by mail or by telephone."
        ),
        (
            "You get this mail because somebody asked to set a new password for the account of "
            "${contact}."
        ),
        "If it was not you, do nothing: your password stays as it is.",
    ),
    "fr": (
        "Votre code de validation",
        "${answer}",
        (
            "Il est valable ${minutes} min. Saisissez-le sur la page où vous l'avez demandé, et ne "
            "le donnez à personne\u00a0: nous ne le demandons jamais par e-mail ni par téléphone."
        ),
        (
            "Vous recevez ce message parce que quelqu'un a demandé à changer le mot de passe du "
            "compte ${contact}."
        ),
        "Si ce n'était pas vous, ne faites rien\u00a0: votre mot de passe reste le même.",
    ),
    "es": (
        "Su código de validación",
        "${answer}",
        (
            "Es válido durante ${minutes} min. Introdúzcalo en la página donde lo pidió y no se lo "
            "dé a nadie: nunca lo pedimos por correo ni por teléfono."
        ),
        "Recibe este mensaje porque alguien pidió cambiar la contraseña de la cuenta ${contact}.",
        "Si no fue usted, no haga nada: su contraseña sigue siendo la misma.",
    ),
}
"""Paragraphs, the first of which is the subject too."""
_NOTICE: Final = {
    "en": (
        "Your password was changed",
        (
            "The password of the account of ${contact} has just been changed with a code that was "
            "sent to this address. Everybody who was signed in to it has been signed out."
        ),
        "If it was you, there is nothing to do.",
        (
            "If it was not you, somebody can read your mail: secure your mailbox first, then ask "
            "for a new code and set another password."
        ),
    ),
    "fr": (
        "Votre mot de passe a été changé",
        (
            "Le mot de passe du compte ${contact} vient d'être changé avec un code envoyé à cette "
            "adresse. Toutes les sessions ouvertes ont été fermées."
        ),
        "Si c'était vous, il n'y a rien à faire.",
        (
            "Si ce n'était pas vous, quelqu'un peut lire vos e-mails\u00a0: sécurisez d'abord "
            "votre boîte aux lettres, puis demandez un nouveau code et choisissez un autre mot de "
            "passe."
        ),
    ),
    "es": (
        "Su contraseña ha cambiado",
        (
            "La contraseña de la cuenta ${contact} acaba de cambiarse con un código enviado a esta "
            "dirección. Se han cerrado todas las sesiones abiertas."
        ),
        "Si fue usted, no tiene que hacer nada.",
        (
            "Si no fue usted, alguien puede leer su correo: proteja primero su buzón, después pida "
            "un código nuevo y elija otra contraseña."
        ),
    ),
}
"""Likewise."""


def choose_language(accept_language: str) -> str:
    """The one of ``LANGUAGES`` that an ``Accept-Language`` header asks for.

    The highest quality wins, of equal ones what is named first. A region is passed over: ``fr-CH``
    is French. English where nothing fits, and for a header that is malformed or far too long.
    """
    wanted = _preferences(accept_language)
    best, best_quality = LANGUAGES[0], 0.0
    for name, quality in wanted.items():
        if name in LANGUAGES and quality > best_quality:
            best, best_quality = name, quality
        elif name == _EVERYTHING and quality > best_quality:
            unnamed = [language for language in LANGUAGES if language not in wanted]
            if unnamed:
                best, best_quality = unnamed[0], quality
    return best


def code_words(language: str) -> tuple[str, str]:
    """Subject and text of the mail with a code. KeyError for a language that is not spoken."""
    return _mail(_CODE[language])


def notice_words(language: str) -> tuple[str, str]:
    """Subject and text of the mail that says that a password was changed. KeyError as above."""
    return _mail(_NOTICE[language])


def _mail(paragraphs: tuple[str, ...]) -> tuple[str, str]:
    return paragraphs[0], "\n\n".join(paragraphs) + "\n"


def _preferences(header: str) -> dict[str, float]:
    """The highest quality of each primary subtag, in order; none for what is no such header."""
    if len(header) > _HEADER_CHARACTERS_MAX:
        return {}
    wanted: dict[str, float] = {}
    for element in header.split(","):
        text = element.strip(" \t")
        if not text:
            continue  # RFC 9110 section 5.6.1 lets elements be empty
        read = _PREFERENCE.fullmatch(text)
        if read is None:
            return {}
        name = read["range"].partition("-")[0].lower()
        wanted[name] = max(wanted.get(name, 0.0), float(read["weight"] or 1))
    return wanted
