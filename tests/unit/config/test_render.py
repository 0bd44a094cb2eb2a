import tomllib
from pathlib import Path

import pytest

from otp_server.config.load import load_config
from otp_server.config.render import render_default_config
from otp_server.config.settings import SETTINGS


def test_loads_back_to_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("otp.toml").write_text(render_default_config())
    assert load_config(tmp_path / "otp.toml", {}) == load_config(None, {})


def test_holds_every_key_in_order() -> None:
    def paths(table: dict[str, object], prefix: str = "") -> list[str]:
        found = []
        for name, value in table.items():
            inner = isinstance(value, dict)
            found += paths(value, f"{prefix}{name}.") if inner else [prefix + name]
        return found

    assert paths(tomllib.loads(render_default_config())) == list(SETTINGS)


def test_every_key_stands_below_its_sentence() -> None:
    blocks = [block.strip() for block in render_default_config().split("\n\n") if " = " in block]
    for setting, block in zip(SETTINGS.values(), blocks, strict=True):
        words, _, assignment = block.rpartition("\n")
        assert " ".join(words.split("\n# ")).startswith(f"# {setting.description}")
        assert assignment.startswith(f"{setting.name} = ")


def test_ranges_and_words_are_shown_and_lines_are_short() -> None:
    text = render_default_config()
    assert "A whole number from 30 to 600." in text
    assert "One of debug, info, warning, error." in text
    assert max(map(len, text.splitlines())) <= 100
