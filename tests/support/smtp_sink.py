"""Postfix's smtp-sink, a foreign SMTP server that fails as told (``man 1 smtp-sink``).

It is looked for on the machine; else Debian's package is unpacked into ``target/postfix``, without
being installed. Who has neither may leave its tests out: ``OTP_SERVER_TESTS_WITHOUT=smtp-sink``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from tests.support.observe import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path(__file__).resolve().parents[2] / "target" / "postfix"
UNPACKED = FOLDER / "usr" / "sbin" / "smtp-sink"
LIBRARIES = ("usr/lib/postfix", "usr/lib/*-linux-gnu", "lib/*-linux-gnu")
LEAVE_OUT = "OTP_SERVER_TESTS_WITHOUT"
FETCH_TIMEOUT_S = 100
LISTENING = "0A"


class Unavailable(Exception):
    """It cannot be had; the text says why."""


def _run(command: Sequence[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(command)}: {done.stderr[-500:]}")
    return done.stdout


def _environment() -> dict[str, str]:
    folders = [str(path) for pattern in LIBRARIES for path in FOLDER.glob(pattern)]
    return os.environ | {"LD_LIBRARY_PATH": ":".join(folders)}


def _missing_libraries() -> bool:
    found = subprocess.run(
        ["ldd", str(UNPACKED)],
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return "not found" in found.stdout


def _unpack(package: str) -> None:
    _run(["apt-get", "download", package], FOLDER)
    for archive in FOLDER.glob(f"{package}_*.deb"):
        _run(["dpkg-deb", "--extract", str(archive), "."], FOLDER)


def _fetch() -> None:
    """Unpack the package, and the libraries it names that the machine has not."""
    if shutil.which("apt-get") is None:
        raise Unavailable("there is no apt-get here to fetch Debian's package with")
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        _unpack("postfix")
    except Unavailable:
        _run(["apt-get", "-q", "update"], FOLDER)  # a fresh machine knows no packages
        _unpack("postfix")
    known = {"postfix"}
    while _missing_libraries():
        named = {
            name
            for archive in FOLDER.glob("*.deb")
            for name in re.findall(
                r"\blib[a-z0-9.+-]+", _run(["dpkg-deb", "-f", str(archive), "Depends"], FOLDER)
            )
        }
        if named <= known:
            raise Unavailable("smtp-sink lacks libraries that no package of its names has")
        for name in sorted(named - known):
            _unpack(name)
        known |= named


def smtp_sink() -> str:
    """The program; fails the test when it cannot be had and nobody chose to go without."""
    if "smtp-sink" in os.environ.get(LEAVE_OUT, ""):
        pytest.skip(f"left out by {LEAVE_OUT}")
    installed = shutil.which("smtp-sink", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
    if installed is not None:
        return installed
    try:
        if not UNPACKED.exists() or _missing_libraries():
            _fetch()
    except (Unavailable, subprocess.TimeoutExpired) as error:
        pytest.fail(f"no smtp-sink: install postfix, or set {LEAVE_OUT}=smtp-sink ({error})")
    return str(UNPACKED)


class SmtpSink:
    """A running smtp-sink. ``options`` are its own; the mails it saw go into ``folder``."""

    def __init__(self, program: str, folder: Path, *options: str) -> None:
        folder.chmod(0o777)  # it gives up root before it writes
        self._folder = folder
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        self._process = subprocess.Popen(
            [program, *user, *options, "-d", "mail.", "127.0.0.1:0", "100"],
            cwd=folder,
            env=_environment() if program == str(UNPACKED) else None,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.port = 0

    def _find_port(self) -> bool:
        self.port = self._listening_port()
        return self.port != 0

    def _listening_port(self) -> int:
        """It has no way to tell a port it did not choose; the kernel knows."""
        assert self._process.poll() is None, "smtp-sink did not start"
        place = Path(f"/proc/{self._process.pid}")
        try:
            sockets = {str(link.readlink()) for link in (place / "fd").iterdir()}
        except FileNotFoundError:  # closed while we looked: it is just starting
            return 0
        for line in (place / "net" / "tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and f"socket:[{fields[9]}]" in sockets:
                return int(fields[1].partition(":")[2], 16)
        return 0

    def mails(self) -> list[str]:
        """Every mail it read, whatever it answered; a file is there, and empty, from MAIL on."""
        texts = []
        for path in self._folder.glob("mail.*"):
            with suppress(FileNotFoundError):  # it takes away what did not become a mail
                texts.append(path.read_text())
        return [text for text in texts if "Message-ID:" in text]

    def __enter__(self) -> Self:
        try:
            wait_until(self._find_port, 10, "smtp-sink listens")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
