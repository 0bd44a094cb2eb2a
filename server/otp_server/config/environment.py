"""The environment over the file: ``OTP_SERVER_<SECTION>__<KEY>``, and ``..._FILE`` for secrets.

A variable with our prefix that names no key is a problem, not a silence: a misspelt limit would
otherwise be no limit. Only what Kubernetes sets by itself for a Service called ``otp-server`` is
passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from otp_server.config.problem import Problem, did_you_mean
from otp_server.config.secret import Secret, SecretKeys, read_key_file
from otp_server.config.settings import ENVIRONMENT_PREFIX, SETTINGS, Setting
from otp_server.config.values import BadValue, value_of_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_FILE_SUFFIX = "_FILE"
_SERVICE_LINK = re.compile(
    # https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
    r"OTP_SERVER_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|"
    r"PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
_BY_VARIABLE = {setting.variable: setting for setting in SETTINGS.values()}
_BY_FILE_VARIABLE = {
    setting.variable + _FILE_SUFFIX: setting
    for setting in SETTINGS.values()
    if setting.type in (Secret, SecretKeys)
}


@dataclass(slots=True)
class Reading:
    """What was read so far: values and who said them by path, problems, and the paths spoilt."""

    values: dict[str, object] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    spoilt: set[str] = field(default_factory=set)

    def take(self, setting: Setting, value: object, origin: str) -> None:
        """Keep a value; a later one of the same key replaces it."""
        self.values[setting.path] = value
        self.origins[setting.path] = origin

    def refuse(self, problem: Problem, setting: Setting | None = None) -> None:
        """Keep a problem; checks that would read the setting are then skipped."""
        self.problems.append(problem)
        if setting is not None:
            self.spoilt.add(setting.path)


def read_environment(reading: Reading, environ: Mapping[str, str], base: Path) -> None:
    """Lay the variables of ours over what was read; relative ``_FILE`` names start at ``base``."""
    for variable in sorted(environ):
        if not variable.startswith(ENVIRONMENT_PREFIX) or _SERVICE_LINK.fullmatch(variable):
            continue
        if (setting := _BY_VARIABLE.get(variable)) is not None:
            try:
                reading.take(setting, value_of_text(setting, environ[variable], variable), variable)
            except BadValue as bad:
                reading.refuse(bad.problem, setting)
        elif (setting := _BY_FILE_VARIABLE.get(variable)) is not None:
            _read_file(reading, setting, variable, environ, base)
        else:
            reading.refuse(_unknown(variable))


def _read_file(
    reading: Reading, setting: Setting, variable: str, environ: Mapping[str, str], base: Path
) -> None:
    if setting.variable in environ:
        reason = f"{setting.variable} is set too"
        reading.refuse(Problem(setting.path, variable, reason, "unset one of the two"), setting)
        return
    file = base / environ[variable]
    try:
        text, _ = read_key_file(file)
        kind = Secret if setting.type is Secret else SecretKeys
        reading.take(setting, kind.parse_lines(text), f"{variable}={file}")
    except OSError as error:
        reason = f"{file} cannot be read ({error.strerror})"
        mend = "name a file this user can read"
        reading.refuse(Problem(setting.path, variable, reason, mend), setting)
    except ValueError as error:
        wanted = "one line" if setting.type is Secret else 'one "id:base64" per line'
        reason, mend = f"{file}: {error}", f"write {wanted}"
        reading.refuse(Problem(setting.path, variable, reason, mend), setting)


def _unknown(variable: str) -> Problem:
    known = [*_BY_VARIABLE, *_BY_FILE_VARIABLE]
    if variable.removesuffix(_FILE_SUFFIX) in _BY_VARIABLE:
        reason, mend = "only secrets are read from files", "give the value itself"
    else:
        reason = "no key has this variable"
        mend = did_you_mean(
            variable, known, f"unset it; keys are {ENVIRONMENT_PREFIX}<SECTION>__<KEY>"
        )
    path = variable.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
    return Problem(path, variable, reason, mend)
