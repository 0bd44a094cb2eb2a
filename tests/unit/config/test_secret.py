import base64
import os
import traceback
from pathlib import Path

import msgspec
import pytest

from otp_server.config.secret import Secret, SecretKey, SecretKeys, read_key_file

KEY = bytes(range(32))
TEXT = base64.b64encode(KEY).decode()


def test_reads_ids_and_keys_in_order() -> None:
    longer = bytes(range(48))
    keys = SecretKeys.parse([f"new:{TEXT}", f"old: {base64.b64encode(longer).decode()}"])
    assert list(keys) == [("new", KEY), ("old", longer)]
    assert len(keys) == 2


def test_padding_may_be_left_out() -> None:
    assert list(SecretKeys.parse([f"a:{TEXT.rstrip('=')}"])) == [("a", KEY)]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([TEXT], "entry 1 has no id before a colon"),
        ([f":{TEXT}"], "entry 1 has an id that is not"),
        ([f"a b:{TEXT}"], "entry 1 has an id that is not"),
        ([f"{'x' * 65}:{TEXT}"], "entry 1 has an id that is not"),
        (["a:%%%"], "entry 1 is not base64 after its id"),
        ([f"a:{TEXT}!"], "entry 1 is not base64 after its id"),
        (["a:schlüssel"], "entry 1 is not base64 after its id"),
        ([f"a:{base64.b64encode(KEY[:31]).decode()}"], "entry 1 has 31 bytes, and 32 or more"),
        (["a:"], "entry 1 has 0 bytes"),
        ([7], "entry 1 is not a string"),
        ([f"a:{TEXT}", f"a:{TEXT}"], "entry 2 repeats the id 'a'"),
        ([f"a:{TEXT}", "b", "c"], "entry 2 has no id before a colon; entry 3 has no id"),
        (f"a:{TEXT}", "expected a list, got str"),
    ],
)
def test_refuses_and_quotes_nothing(values: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        SecretKeys.parse(values)
    assert TEXT[:8] not in "".join(traceback.format_exception(caught.value))


def test_a_file_holds_one_key_a_line() -> None:
    keys = SecretKeys.parse_lines(f"# ours\n\n  new:{TEXT}  \r\n#old:{TEXT}\nold:{TEXT}")
    assert [key.key_id for key in keys] == ["new", "old"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "holds no key"), ("# none\n", "holds no key"), (f"a:{TEXT}\n\nb\n", "line 3 has no id")],
)
def test_a_bad_file_names_the_line(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        SecretKeys.parse_lines(text)


def test_nothing_shows_a_key() -> None:
    keys = SecretKeys.parse([f"a:{TEXT}"])
    for shown in (repr(keys), str(keys), f"{keys}", repr(list(keys)), f"{keys.entries[0]}"):
        assert "'a'" in shown
        assert TEXT[:8] not in shown
        assert repr(KEY)[2:10] not in shown
    with pytest.raises(TypeError):
        msgspec.json.encode(keys)


def test_equal_by_ids_and_keys() -> None:
    keys = SecretKeys.parse([f"a:{TEXT}"])
    assert keys == SecretKeys((SecretKey("a", KEY),))
    assert hash(keys) == hash(SecretKeys((SecretKey("a", KEY),)))
    assert keys != SecretKeys((SecretKey("a", KEY[::-1]),))
    assert keys != SecretKeys((SecretKey("b", KEY),))


def test_nothing_shows_a_word() -> None:
    secret = Secret.parse("hunter2")
    assert secret.reveal() == "hunter2"
    assert f"{secret} {secret!r} {[secret]}" == "<secret> <secret> [<secret>]"
    assert (repr(Secret()), bool(Secret()), bool(secret)) == ("<no secret>", False, True)
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)
    with pytest.raises(TypeError):
        msgspec.to_builtins(secret)


def test_words_are_equal_by_their_text() -> None:
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("b"))  # a hash would tell of it
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"


def test_reads_a_file_and_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "a.key"
    file.write_text("text")
    file.chmod(0o640)
    assert read_key_file(file) == ("text", 0o640)


def test_refuses_what_is_no_key_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"#" * 65537)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(FileNotFoundError):
        read_key_file(tmp_path / "missing")
    for name, reason in [
        ("pipe", "not a regular file"),
        ("large", "more than 65536 bytes"),
        ("binary", "not UTF-8"),
    ]:
        with pytest.raises(ValueError, match=reason):
            read_key_file(tmp_path / name)
    with pytest.raises(OSError, match="directory"):
        read_key_file(tmp_path)
