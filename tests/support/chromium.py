"""Chromium: found on the machine, else installed from Debian, and run without a screen.

Who has neither Chromium nor root may leave its tests out: ``OTP_SERVER_TESTS_WITHOUT=chromium``.
``python -m tests.support.chromium`` makes sure of it beforehand (``make test`` does).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from tests.support.observe import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAVE_OUT = "OTP_SERVER_TESTS_WITHOUT"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL_TIMEOUT_S = 500
LOCK_WAIT_S = 300  # another package may be being installed
START_S = 60
LISTENING = re.compile(r"^DevTools listening on (ws://\S+)\n", re.MULTILINE)
END_S = 20
APT_GET = ["apt-get", "-q", "-y", "-o", f"DPkg::Lock::Timeout={LOCK_WAIT_S}"]
INSTALL = [*APT_GET, "install", "--no-install-recommends", "chromium", "fonts-dejavu-core"]
OPTIONS = [
    "--headless=new",
    "--no-sandbox",  # tests often run as root, and the page is ours
    "--remote-debugging-port=0",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--metrics-recording-only",
    "--password-store=basic",
    "--use-mock-keychain",
]


class Unavailable(Exception):
    """It cannot be had; the text says why."""


def _found() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name)) is not None), None)


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(
        command,
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INSTALL_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(command)}: {done.stderr[-500:]}")


def _install() -> str:
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise Unavailable("only root with apt-get can install it by itself")
    try:
        _run(INSTALL)
    except Unavailable:
        _run([*APT_GET, "update"])  # a fresh machine knows no packages
        _run(INSTALL)
    found = _found()
    if found is None:
        raise Unavailable("its package has no program of the expected name")
    return found


def ensure_chromium() -> str:
    """The program, installed when it is not there; Unavailable says why it cannot be had."""
    try:
        return _found() or _install()
    except subprocess.TimeoutExpired as error:
        raise Unavailable(str(error)) from error


def left_out() -> bool:
    """Whether somebody chose to go without."""
    return "chromium" in os.environ.get(LEAVE_OUT, "")


def chromium() -> str:
    """The program; fails the test when it cannot be had and nobody chose to go without."""
    if left_out():
        pytest.skip(f"left out by {LEAVE_OUT}")
    try:
        return ensure_chromium()
    except Unavailable as error:
        pytest.fail(f"no Chromium: install it, or set {LEAVE_OUT}=chromium ({error})")


class Chromium:
    """A running Chromium with a profile of its own in ``folder``; ``url`` is its DevTools'."""

    def __init__(self, program: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._told = folder / "told.txt"
        self.url = ""
        with self._told.open("w") as told:
            self._process = subprocess.Popen(
                [program, *OPTIONS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # with its helpers it is one process group
            )

    def _find_url(self) -> bool:
        assert self._process.poll() is None, f"Chromium ended: {self._told.read_text()}"
        found = LISTENING.search(self._told.read_text())
        self.url = "" if found is None else found[1]
        return found is not None

    def __enter__(self) -> Self:
        try:
            wait_until(self._find_url, START_S, "Chromium listens")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(END_S)


if __name__ == "__main__":
    try:
        sys.stdout.write("left out\n" if left_out() else f"{ensure_chromium()}\n")
    except Unavailable as error:
        sys.exit(f"Chromium, which the tests of the web page need, is not here: {error}")
