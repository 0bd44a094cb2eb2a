"""docs/security-requirements.md is complete, and every test it names exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security-requirements.md").read_text()
ROWS = dict(re.findall(r"^\| (\d+) \|(.*)$", PAGE, re.MULTILINE))
DUE = {*range(1, 93)} - {89}


def test_every_requirement_of_this_version_is_listed() -> None:
    assert {int(number) for number in ROWS} == DUE


def test_every_row_names_a_proof_or_a_reason() -> None:
    assert not [number for number, row in ROWS.items() if "::" not in row and "refused" not in row]


def test_every_named_test_exists() -> None:
    missing: list[str] = []
    for row in ROWS.values():
        for name in re.findall(r"`([\w/]+\.(?:py|rs)::\w+)`", row):
            file, _, function = name.partition("::")
            folder = ROOT / ("otp_core_rs/tests" if file.endswith(".rs") else "tests")
            path = folder / file
            text = path.read_text() if path.is_file() else ""
            if not re.search(rf"(def|fn) {function}\(", text):
                missing.append(name)
    assert not missing
