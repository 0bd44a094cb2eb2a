"""The default file: every key with its sentence, its range and its default, made of the schema."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from textwrap import wrap

from otp_server.config.endpoint import Endpoint
from otp_server.config.secret import Secret, SecretKeys
from otp_server.config.settings import ENVIRONMENT_PREFIX, SECTIONS, SETTINGS, Setting
from otp_server.config.values import wanted

_WIDTH = 98  # with "# " before it, the house's 100
_PLAIN = (bool, str, Path, Endpoint, Secret, SecretKeys)  # their sentence says what they take
_HEAD = f"""\
The configuration of otp-server: every key, with its default.

The environment variable {ENVIRONMENT_PREFIX}<SECTION>__<KEY>, in capitals, wins over this
file: lists as JSON or, where they hold text, between commas. The dot in a section's name is
written __ too. {ENVIRONMENT_PREFIX}<SECTION>__<KEY>_FILE names a file to read a secret from.
Unknown keys and variables are errors."""


def render_default_config() -> str:
    """A commented TOML file that loads to the defaults."""
    blocks = [_comment(_HEAD)]
    for section, struct in SECTIONS.items():
        blocks.append(f"{_comment(inspect.getdoc(struct) or '')}\n[{section}]")
        blocks += [
            f"{_comment(_about(setting))}\n{setting.name} = {_toml(setting.default)}"
            for setting in SETTINGS.values()
            if setting.section == section
        ]
    return "\n\n".join(blocks) + "\n"


def _about(setting: Setting) -> str:
    if setting.type in _PLAIN or setting.hint("wanted") == setting.default:
        return setting.description
    words = wanted(setting)
    return f"{setting.description} {words[:1].upper()}{words[1:]}."


def _comment(text: str) -> str:
    paragraphs = [wrap(part, _WIDTH, break_on_hyphens=False) for part in text.split("\n\n")]
    return "\n#\n".join("\n".join(f"# {line}" for line in lines) for lines in paragraphs)


def _toml(value: object) -> str:
    """A default as TOML; JSON's strings, numbers and booleans are TOML's too."""
    if isinstance(value, tuple | SecretKeys):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    text = value.reveal() if isinstance(value, Secret) else str(value)
    return json.dumps(text, ensure_ascii=False)
