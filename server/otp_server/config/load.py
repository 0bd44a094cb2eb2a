"""File, environment and defaults into one ``Config``, or one error that lists every problem.

The environment wins over the file, the file over the defaults; a wrong value is a problem even
where a better one wins. Relative paths start at the folder of the file, without a file at the
current one.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct, structs

from otp_server.config.checks import check_config
from otp_server.config.environment import Reading, read_environment
from otp_server.config.problem import InvalidConfigError, Problem, did_you_mean
from otp_server.config.schema import Config
from otp_server.config.settings import GROUPS, SECTIONS, SETTINGS, is_section
from otp_server.config.values import BadValue, value_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

T = TypeVar("T", bound=Struct)

_LIST_THEM = "remove it; `otp-server default-config` lists every key"
_FILES = (
    "device.tls_certificate",
    "device.tls_key",
    "http.tls_certificate",
    "http.tls_key",
    "delivery.email.ca_file",
    "delivery.sms.ca_file",
    "svc.breached_passwords",
)


def load_config(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read the configuration.

    Args:
        path: the TOML file; None for defaults and environment alone.
        environ: the environment; only names that start with ``OTP_SERVER_`` are looked at.

    Raises:
        InvalidConfigError: a ConfigError that lists every problem, in ``problems`` one by one.
    """
    config, problems = _load(path, environ)
    del environ  # a traceback that shows variables must not show keys
    if problems:
        raise InvalidConfigError(problems)
    return config


def _load(path: Path | None, environ: Mapping[str, str]) -> tuple[Config, list[Problem]]:
    base = Path.cwd() if path is None else path.absolute().parent
    reading = Reading()
    if path is not None:
        _read_file(reading, path)
    read_environment(reading, environ, base)
    config = _build(reading, base)
    for finding in check_config(config):
        if reading.spoilt.isdisjoint(finding.paths):
            said = [reading.origins[path] for path in finding.paths if path in reading.origins]
            origin = said[0] if said else "default"
            reading.refuse(Problem(finding.where, origin, finding.reason, finding.mend))
    return config, reading.problems


def _read_file(reading: Reading, path: Path) -> None:
    origin = str(path)
    try:
        document = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        reason, mend = f"it cannot be read ({error.strerror})", "name a file this user can read"
    except UnicodeDecodeError as error:
        reason, mend = f"byte {error.start} is not UTF-8", "save it as UTF-8"
    except tomllib.TOMLDecodeError as error:
        reason, mend = f"it is not TOML: {error}", "mend that line"
    else:
        for section, table in document.items():
            _read_section(reading, origin, section, table)
        return
    reading.refuse(Problem("", origin, reason, mend))
    reading.spoilt.update(SETTINGS)


def _read_section(reading: Reading, origin: str, section: str, table: object) -> None:
    if section in GROUPS and isinstance(table, dict):
        for name, inner in table.items():
            _read_section(reading, origin, f"{section}.{name}", inner)
        return
    if section not in SECTIONS and section not in GROUPS:
        if not isinstance(table, dict):
            name = section.rpartition(".")[2]
            reason, mend = "this key stands outside of a section", _elsewhere(name, ())
        else:
            reason = "no section has this name"
            mend = did_you_mean(section, list(SECTIONS), _LIST_THEM)
        reading.refuse(Problem(section, origin, reason, mend))
        return
    if not isinstance(table, dict):
        inner = next(path for path in SECTIONS if f"{path}.".startswith(f"{section}."))
        mend = f"write [{inner}] on its own line, its keys below"
        reading.refuse(Problem(section, origin, "this is a section, not a key", mend))
        return
    for name, value in table.items():
        setting = SETTINGS.get(f"{section}.{name}")
        if setting is None:
            here = [setting.name for setting in SETTINGS.values() if setting.section == section]
            mend = _elsewhere(name, here)
            reading.refuse(Problem(f"{section}.{name}", origin, "no key has this name", mend))
            continue
        try:
            reading.take(setting, value_of(setting, value, origin), origin)
        except BadValue as bad:
            reading.refuse(bad.problem, setting)


def _elsewhere(name: str, here: Sequence[str]) -> str:
    """Where a key of this name is at home, or which one of ``here`` was meant."""
    homes = [path for path, setting in SETTINGS.items() if setting.name == name]
    return f"did you mean {' or '.join(homes)}?" if homes else did_you_mean(name, here, _LIST_THEM)


def _build(reading: Reading, base: Path) -> Config:
    values = {path: setting.default for path, setting in SETTINGS.items()} | reading.values
    values["server.data_dir"] = base / str(values["server.data_dir"])
    for path in _FILES:
        values[path] = str(base / str(values[path])) if values[path] else ""
    return _struct(Config, "", values)


def _struct(kind: type[T], prefix: str, values: Mapping[str, object]) -> T:
    """A section of the values below ``prefix``, its own sections first."""
    fields: dict[str, Any] = {}
    for field in structs.fields(kind):
        path = prefix + field.encode_name
        inner = is_section(field.type)
        fields[field.name] = _struct(field.type, f"{path}.", values) if inner else values[path]
    return kind(**fields)
