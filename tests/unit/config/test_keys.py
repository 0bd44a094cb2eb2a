import base64
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import otp_server
from otp_server.config import keys as module
from otp_server.config.keys import PURPOSES, InstallationKeys, ensure_data_dir, resolve_keys
from otp_server.config.problem import InvalidConfigError
from otp_server.config.schema import Config, KeysSection, ServerSection
from otp_server.config.secret import SecretKey, SecretKeys


def key(number: int) -> bytes:
    """A key that looks random enough, another for each number."""
    return bytes((index * 37 + number) % 256 for index in range(32))


def config(
    folder: Path, profile: str = "production", /, **given: list[tuple[str, bytes]]
) -> Config:
    """A configuration with keys for all purposes, those in ``given`` replaced."""
    pairs = {name: [(f"k{i}", key(i))] for i, name in enumerate(PURPOSES)} | given
    section = {name: SecretKeys(tuple(SecretKey(*pair) for pair in p)) for name, p in pairs.items()}
    return msgspec.structs.replace(
        Config(),
        server=msgspec.structs.replace(ServerSection(), data_dir=folder, profile=profile),
        keys=msgspec.structs.replace(KeysSection(), **section),
    )


def put(folder: Path, purpose: str, text: str, mode: int = 0o600) -> Path:
    (folder / "keys").mkdir(exist_ok=True)
    file = folder / "keys" / f"{purpose}.key"
    file.write_text(text)
    file.chmod(mode)
    return file


def line(key_id: str, number: int) -> str:
    return f"{key_id}:{base64.b64encode(key(number)).decode()}\n"


def refusals(config: Config) -> list[str]:
    with pytest.raises(InvalidConfigError) as caught:
        resolve_keys(config)
    return [str(problem) for problem in caught.value.problems]


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_the_data_folder_is_private(tmp_path: Path) -> None:
    ensure_data_dir(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    (tmp_path / "a" / "b").chmod(0o750)
    ensure_data_dir(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o750


def test_a_data_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidConfigError, match=r"server\.data_dir: .*file cannot be made"):
        ensure_data_dir(tmp_path / "file")


@pytest.mark.usefixtures("open_umask")
def test_development_makes_what_is_missing_once(tmp_path: Path) -> None:
    empty = config(tmp_path / "data", "development", code=[], token=[], device_key=[], contact=[])
    made = resolve_keys(empty)
    for purpose in PURPOSES:
        ((key_id, secret),) = getattr(made, purpose)
        assert key_id.startswith("dev-")
        assert len(key_id) == 12
        assert len(secret) == 32
        file = tmp_path / "data" / "keys" / f"{purpose}.key"
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.stat().st_nlink == 1
    assert len({getattr(made, purpose)[0][1] for purpose in PURPOSES}) == 4
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "data" / "keys").stat().st_mode & 0o777 == 0o700
    assert len(list((tmp_path / "data" / "keys").iterdir())) == 4  # no drafts are left
    again = resolve_keys(empty)
    assert all(getattr(again, purpose) == getattr(made, purpose) for purpose in PURPOSES)


def test_what_is_configured_is_not_looked_for(tmp_path: Path) -> None:
    put(tmp_path, "code", "rubbish")
    found = resolve_keys(config(tmp_path, "development"))
    assert found.code == [("k0", key(0))]
    assert not (tmp_path / "keys" / "token.key").exists()


def test_files_are_read_current_first(tmp_path: Path) -> None:
    put(tmp_path, "code", f"# rotated\n{line('new', 7)}{line('old', 8)}")
    assert resolve_keys(config(tmp_path, code=[])).code == [("new", key(7)), ("old", key(8))]


def test_who_loses_the_race_takes_the_winners_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_urandom(size: int) -> bytes:
        put(tmp_path, "code", line("dev-winner", 9))
        return bytes(size)

    monkeypatch.setattr(os, "urandom", slow_urandom)
    assert resolve_keys(config(tmp_path, "development", code=[])).code == [("dev-winner", key(9))]
    assert [file.name for file in (tmp_path / "keys").iterdir()] == ["code.key"]


START = """
import hashlib, sys
from pathlib import Path
from otp_server.config import load_config, resolve_keys
config = load_config(None, {"OTP_SERVER_SERVER__DATA_DIR": sys.argv[1]})
print("ready", flush=True)
sys.stdin.read()
keys = resolve_keys(config)
print(hashlib.sha256(repr([tuple(k) for k in keys.code + keys.token]).encode()).hexdigest())
"""


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    source = str(Path(otp_server.__file__).parents[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", START, str(tmp_path / "data")],
            env={"PYTHONPATH": source},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    answers = [process.communicate(timeout=30)[0] for process in processes]
    assert len(set(answers)) == 1
    assert len(answers[0].strip()) == 64
    assert len(list((tmp_path / "data" / "keys").iterdir())) == 4


def test_production_makes_nothing_and_names_all_that_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "my data"
    found = refusals(config(folder, code=[], token=[], device_key=[], contact=[]))
    assert not folder.exists()
    assert len(found) == 4
    for purpose, text in zip(PURPOSES, found, strict=True):
        file = folder / "keys" / f"{purpose}.key"
        variable = f"OTP_SERVER_KEYS__{purpose.upper()}"
        assert text.startswith(f"keys.{purpose}: no key is configured, and {file} is not there;")
        assert f"set keys.{purpose} or {variable} to" in text
        assert f"{variable}_FILE" in text
        assert "openssl rand -base64 32" in text
        assert f"> '{file}')" in text


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_production_refuses_files_that_others_may_read(tmp_path: Path, mode: int) -> None:
    file = put(tmp_path, "token", line("k", 9), mode)
    (text,) = refusals(config(tmp_path, token=[]))
    assert text == (
        f"keys.token ({file}): others may read it (mode {mode:04o}); run: chmod 600 {file}"
    )
    assert file.stat().st_mode & 0o777 == mode
    resolve_keys(config(tmp_path, "development", token=[]))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"code": [("dev-1", key(9))]}, "keys.code: 'dev-1' is a development key"),
        ({"token": [("z", bytes(32))]}, "keys.token: 'z' repeats few bytes"),
        ({"token": [("z", b"a" * 40)]}, "keys.token: 'z' repeats few bytes"),
        ({"token": [("z", b"secret!" * 5)]}, "keys.token: 'z' repeats few bytes"),
        ({"code": [("z", key(9)[:31])]}, "keys.code: 'z' has fewer than 32 bytes"),
        ({"token": [("z", key(0))]}, "keys.token: 'z' is the same key as 'k0' of keys.code"),
        (
            {"code": [("a", key(9)), ("b", key(9))]},
            "keys.code: 'b' is the same key as 'a' of keys.code",
        ),
    ],
)
def test_production_refuses_weak_keys(
    tmp_path: Path, given: dict[str, list[tuple[str, bytes]]], text: str
) -> None:
    (found,) = refusals(config(tmp_path, **given))
    assert found.startswith(text)
    assert found.endswith("; make a new one: openssl rand -base64 32")
    resolve_keys(config(tmp_path, "development", **given))


def test_keys_made_in_development_do_not_pass_into_production(tmp_path: Path) -> None:
    resolve_keys(config(tmp_path, "development", code=[]))
    (found,) = refusals(config(tmp_path, code=[]))
    assert "is a development key; production refuses it" in found


def test_all_refusals_at_once(tmp_path: Path) -> None:
    put(tmp_path, "token", "rubbish")
    found = refusals(config(tmp_path, code=[("dev-z", bytes(32))], token=[], device_key=[]))
    assert len(found) == 4


@pytest.mark.parametrize("profile", ["development", "production"])
@pytest.mark.parametrize(
    ("text", "reason"), [("", "it holds no key"), ("hunter2", "line 1 has no id before a colon")]
)
def test_a_bad_file_is_named_not_quoted_not_replaced(
    tmp_path: Path, profile: str, text: str, reason: str
) -> None:
    file = put(tmp_path, "code", text)
    (found,) = refusals(config(tmp_path, profile, code=[]))
    assert found == f'keys.code ({file}): {reason}; write one "id:base64" per line'
    assert file.read_text() == text


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "keys" / "code.key").mkdir(parents=True)
    (found,) = refusals(config(tmp_path, "development", code=[]))
    assert "it cannot be read or made" in found or "not a regular file" in found


def test_nothing_shows_a_key(tmp_path: Path) -> None:
    secret = b"canary-canary-CANARY-0123456789!"
    found = InstallationKeys(
        code=[("a", secret)], token=[], device_key=[("b", secret)], contact=[("c", secret)]
    )
    shown = f"{found} {found!r} {found.code} {found.code[0]}"
    assert "<key 'a'>" in shown
    assert "<key 'c'>" in shown
    assert "canary" not in shown
    with pytest.raises(TypeError):
        msgspec.json.encode(found)
    with pytest.raises(InvalidConfigError) as caught:
        resolve_keys(config(tmp_path, code=[("dev-a", secret)], token=[("t", secret)]))
    trace = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in trace.stack if frame.filename == module.__file__]
    assert ours
    assert "canary" not in f"{[frame.locals for frame in ours]}{caught.value}"
