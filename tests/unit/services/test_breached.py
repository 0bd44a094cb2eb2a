"""Passwords that attackers try first: the built-in list and a file."""

from __future__ import annotations

import hashlib
import random
import sys
from pathlib import Path

import pytest

from otp_server.domain.password_rules import BREACHED
from otp_server.errors import ConfigError
from otp_server.services.breached import BreachedPasswords
from otp_server.services.password_policy import PasswordPolicy


def sha1(password: str) -> str:
    return hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper()


def listing(passwords: list[str], *, counts: bool = True, end: str = "\r\n") -> str:
    draw = random.Random(7)  # noqa: S311 - counts of an example
    lines = sorted(sha1(password) for password in passwords)
    return end.join(f"{line}:{draw.randrange(10**9)}" if counts else line for line in lines)


@pytest.mark.parametrize(
    "password", ["password1", "qwertyuiop", "1234567890", "Iloveyou", "PASSWORD1"]
)
def test_the_most_common_are_built_in(password: str) -> None:
    assert BreachedPasswords().contains(password)


@pytest.mark.parametrize("password", ["password1 ", "", "correct horse battery"])
def test_others_are_not(password: str) -> None:
    assert not BreachedPasswords().contains(password)


def test_the_list_is_read_when_it_is_asked_for_and_the_package_is_not_loaded() -> None:
    lists = BreachedPasswords()
    assert "_common" not in vars(lists)
    lists.contains("password1")
    assert "_common" in vars(lists)
    assert not [name for name in sys.modules if name.startswith("zxcvbn")]


@pytest.mark.parametrize("count", [1, 2, 3, 50, 1000])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("lower", [True, False])
def test_every_line_of_a_file_is_found(
    tmp_path: Path, count: int, end: str, counts: bool, lower: bool
) -> None:
    passwords = [f"stolen passphrase {i}" for i in range(count)]
    text = listing(passwords, counts=counts, end=end)
    file = tmp_path / "breached.txt"
    for last_end in ("", end):
        file.write_bytes(((text.lower() if lower else text) + last_end).encode())
        lists = BreachedPasswords(str(file))
        assert all(lists.contains(password) for password in passwords)
        assert not any(lists.contains(f"passphrase {i} of mine") for i in range(200))
    assert lists.contains("password1")


def test_the_first_and_the_last_possible_digest_are_looked_for_in_bounds(tmp_path: Path) -> None:
    file = tmp_path / "breached.txt"
    file.write_text(f"{'0' * 40}:1\n{'F' * 40}:1\n")
    assert not BreachedPasswords(str(file)).contains("anything at all")
    file.write_text("")
    assert not BreachedPasswords(str(file)).contains("anything at all")


def test_a_file_that_cannot_be_used_says_so_at_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"svc\.breached_passwords cannot be read: No such file"):
        BreachedPasswords(str(tmp_path / "nothing"))
    other = tmp_path / "words.txt"
    other.write_text("password1\n")
    with pytest.raises(ConfigError, match="does not begin with a SHA-1 digest"):
        BreachedPasswords(str(other))


def test_a_file_that_is_gone_does_not_let_a_password_pass(tmp_path: Path) -> None:
    file = tmp_path / "breached.txt"
    file.write_text(listing(["stolen passphrase"]))
    lists = BreachedPasswords(str(file))
    file.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        lists.contains("stolen passphrase")


async def test_the_policy_asks_both_lists(tmp_path: Path) -> None:
    file = tmp_path / "breached.txt"
    file.write_text(listing(["stolen passphrase"]))
    policy = PasswordPolicy(BreachedPasswords(str(file)))
    for password, problems in (
        ("stolen passphrase", [BREACHED]),
        ("password1", [BREACHED]),
        ("Stolen passphrase", []),
    ):
        assert await policy.problems_of(password, about=()) == problems
