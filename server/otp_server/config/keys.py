"""The keys of the installation: configured, else read from ``<data_dir>/keys/<purpose>.key``.

In development a missing key is made on first start. Whoever starts at the same time agrees: a key
is written to a file of its own and then linked to its name, which only one can win; the others read
the winner's file, and never half of one. In production nothing is made and weak keys are refused,
all of them in one error.

Four purposes, four keys: what is published about one (a signed token, a digest in a stolen
database) says nothing about another.
"""

from __future__ import annotations

import base64
import os
import secrets
import shlex
from typing import TYPE_CHECKING

from otp_server.config.problem import InvalidConfigError, Problem
from otp_server.config.secret import KEY_BYTES_MIN, SecretKey, SecretKeys, read_key_file
from otp_server.config.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from otp_server.config.schema import Config

PURPOSES = ("code", "token", "device_key", "contact")
_DEVELOPMENT_ID = "dev-"
_PRIVATE_BITS_MASK = 0o077
_DISTINCT_BYTES_MIN = 8  # 32 random bytes have 28 or more all but always; zeros or a pattern few


class InstallationKeys:
    """Keys by purpose, as ``(id, key)`` pairs, first is current. Its repr shows ids only.

    A plain class on purpose: JSON encoders refuse it instead of printing it.
    """

    __slots__ = ("code", "contact", "device_key", "token")

    def __init__(
        self,
        code: Iterable[tuple[str, bytes]],
        token: Iterable[tuple[str, bytes]],
        device_key: Iterable[tuple[str, bytes]],
        contact: Iterable[tuple[str, bytes]],
    ) -> None:
        self.code: list[tuple[str, bytes]] = [SecretKey(*pair) for pair in code]
        self.token: list[tuple[str, bytes]] = [SecretKey(*pair) for pair in token]
        self.device_key: list[tuple[str, bytes]] = [SecretKey(*pair) for pair in device_key]
        self.contact: list[tuple[str, bytes]] = [SecretKey(*pair) for pair in contact]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in PURPOSES)
        return f"InstallationKeys({fields})"


def ensure_data_dir(path: Path) -> None:
    """Make the data folder, mode 0700; one that is there is left as it is.

    Raises:
        InvalidConfigError: it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = f"{path} cannot be made ({error.strerror})"
        mend = "name a folder this user can make or write to"
        failure = Problem("server.data_dir", "", reason, mend)
    else:
        return
    raise InvalidConfigError([failure])


def resolve_keys(config: Config, *, make: bool = True) -> InstallationKeys:
    """The keys of all purposes; in development the missing ones are made, in production never.

    Without ``make`` nothing is written: a purpose whose keys would be made has none.

    Raises:
        InvalidConfigError: keys are missing, cannot be read or made, or are not fit for the
            profile; every one is named.
    """
    found: dict[str, SecretKeys] = {}
    problems: list[Problem] = []
    for purpose in PURPOSES:
        keys: SecretKeys = getattr(config.keys, purpose)
        if not keys:
            read = _read(config, purpose, make=make)
            if isinstance(read, Problem):
                problems.append(read)
                continue
            keys = read
        found[purpose] = keys
    if config.server.profile == "production":
        problems += _unfit(found)
    if problems:
        raise InvalidConfigError(problems)
    return InstallationKeys(**found)


def _read(config: Config, purpose: str, *, make: bool) -> SecretKeys | Problem:
    """The keys in the data folder, made first where that is allowed."""
    path = f"keys.{purpose}"
    file = config.server.data_dir / "keys" / f"{purpose}.key"
    production = config.server.profile == "production"
    try:
        if not production and not file.exists():
            if not make:
                return SecretKeys()
            ensure_data_dir(config.server.data_dir)
            _make(file)
        text, mode = read_key_file(file)
        if production and mode & _PRIVATE_BITS_MASK:
            mend = f"run: chmod 600 {shlex.quote(str(file))}"
            return Problem(path, str(file), f"others may read it (mode {mode:04o})", mend)
        return SecretKeys.parse_lines(text)
    except FileNotFoundError:
        return _missing(purpose, file)
    except OSError as error:
        reason = f"it cannot be read or made ({error.strerror})"
        return Problem(path, str(file), reason, "let this user read it and write its folder")
    except ValueError as error:
        return Problem(path, str(file), str(error), 'write one "id:base64" per line')


def _missing(purpose: str, file: Path) -> Problem:
    setting = SETTINGS[f"keys.{purpose}"]
    folder, name = shlex.quote(str(file.parent)), shlex.quote(str(file))
    mend = (
        f'set {setting.path} or {setting.variable} to "id:base64" (make one with: openssl rand '
        f"-base64 32), or {setting.variable}_FILE to a file with such a line, or run: "
        f'(umask 077; mkdir -p {folder} && echo "k1:$(openssl rand -base64 32)" > {name})'
    )
    return Problem(setting.path, "", f"no key is configured, and {file} is not there", mend)


def _make(file: Path) -> None:
    """Make a key under its name, or leave the one that somebody else made meanwhile."""
    file.parent.mkdir(mode=0o700, exist_ok=True)
    key_id = f"{_DEVELOPMENT_ID}{secrets.token_hex(4)}"
    line = f"{key_id}:{base64.b64encode(os.urandom(KEY_BYTES_MIN)).decode()}\n"
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "w", encoding="ascii") as opened:  # noqa: PTH123 - a descriptor
            opened.write(line)
            opened.flush()
            os.fsync(descriptor)
        try:
            file.hardlink_to(draft)
        except FileExistsError:
            return
    finally:
        draft.unlink()
    folder = os.open(file.parent, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # or a power cut could take the key and leave what it signed
    finally:
        os.close(folder)


def _unfit(found: dict[str, SecretKeys]) -> Iterator[Problem]:
    """Keys that no production may run on. Keys are compared as wholes, at start, by the owner."""
    new = "make a new one: openssl rand -base64 32"
    seen: dict[bytes, str] = {}
    for purpose, keys in found.items():
        for key_id, key in keys:
            name = f"keys.{purpose}"
            if key_id.startswith(_DEVELOPMENT_ID):
                reason = f"{key_id!r} is a development key; production refuses it"
                yield Problem(name, "", reason, new)
            if len(key) < KEY_BYTES_MIN:
                reason = f"{key_id!r} has fewer than {KEY_BYTES_MIN} bytes"
                yield Problem(name, "", reason, new)
            if len(set(key)) < _DISTINCT_BYTES_MIN:
                reason = f"{key_id!r} repeats few bytes and can be guessed"
                yield Problem(name, "", reason, new)
            if key in seen:
                reason = f"{key_id!r} is the same key as {seen[key]}"
                yield Problem(name, "", reason, new)
            seen.setdefault(key, f"{key_id!r} of keys.{purpose}")
