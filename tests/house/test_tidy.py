"""House rules that are tests: sizes, banned calls, reasons beside every exemption."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINES_MAX = 600
README_LINES_MAX = 150


def tracked(*patterns: str) -> list[Path]:
    """The project's own files, generated ones left out."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    generated = re.compile(r"_pb2\.pyi?$|\.pb\.go$|/vectors/")
    files = (ROOT / name for name in listing.stdout.splitlines() if not generated.search(name))
    return [file for file in files if file.is_file()]


PYTHON = tracked("*.py", "*.pyi")
SERVER = [file for file in PYTHON if "server" in file.relative_to(ROOT).parts[:1]]
TESTS = [
    file
    for file in PYTHON
    if file.relative_to(ROOT).parts[0] == "tests" and "support" not in file.parts
]

BANNED_IN_SERVER = {
    r"\btime\.time\(": "ask the Clock: codes expire by a clock that does not jump",
    r"\bdatetime\.(now|utcnow|today)\(": "ask the Clock",
    r"^\s*(import|from) random\b": "secrets and the Rust core draw; nothing here needs random",
    r"^\s*(import|from) asyncio\b": "Trio runs everything",
    r"\btime\.sleep\(": "a blocked thread is a blocked server",
    r"except\s*:": "name what is caught",
    r"except (Base)?Exception:\s*pass": "say why it may be passed over, and count it",
}
BANNED_IN_TESTS = {
    r"\btime\.sleep\(": "wait for an event or poll with a deadline (tests/support)",
    r"\bpkill\b|\bkillall\b": "end only what the test started, by pid",
}


def breaches(files: list[Path], banned: dict[str, str]) -> list[str]:
    return [
        f"{file.relative_to(ROOT)}:{number}: {why}: {line.strip()}"
        for file in files
        for number, line in enumerate(file.read_text().splitlines(), 1)
        for pattern, why in banned.items()
        if re.search(pattern, line) and "test_tidy" not in file.name
    ]


def test_no_file_is_too_long() -> None:
    long = {
        str(file.relative_to(ROOT)): count
        for file in [*PYTHON, *tracked("*.rs")]
        if (count := len(file.read_text().splitlines())) > LINES_MAX
    }
    assert not long


def test_banned_in_the_server() -> None:
    assert not breaches(SERVER, BANNED_IN_SERVER)


def test_banned_in_tests() -> None:
    assert not breaches(TESTS, BANNED_IN_TESTS)


@pytest.mark.parametrize("marker", ["noqa", "type: ignore"])
def test_every_exemption_names_its_rule_and_reason(marker: str) -> None:
    good = re.compile(rf"# {marker}(: |\[)[\w, -]+\]? ?(- |# ).{{5,}}")
    bare = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in SERVER
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if f"# {marker}" in line and not good.search(line)
    ]
    assert not bare


def test_no_unsafe_in_our_rust() -> None:
    manifest = (ROOT / "Cargo.toml").read_text()
    assert 'unsafe_code = "forbid"' in manifest
    for crate in tracked("*Cargo.toml"):
        if crate.parent != ROOT and "fuzz" not in crate.parts:
            text = crate.read_text()
            assert "[lints]" in text, crate
            assert "workspace = true" in text, crate


def test_the_readme_fits_and_ci_runs_its_command() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES_MAX
    assert "make test" in (ROOT / "README.md").read_text()
    ci = (ROOT / ".ci" / "run").read_text()
    assert "\nmake test\n" in ci
    assert "export CI=true" in ci  # foreign clients are never skipped there


def test_every_package_says_what_it_holds() -> None:
    """The map at each door names every module beside it."""
    missing = [
        str(module.relative_to(ROOT))
        for door in SERVER
        if door.name == "__init__.py" and door.parent.name not in {"core", "wire", "otp_server"}
        for module in sorted(door.parent.iterdir())
        if module.suffix == ".py" and module.name != "__init__.py"
        if module.stem not in door.read_text()
    ]
    assert not missing
