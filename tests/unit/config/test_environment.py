import base64
from pathlib import Path

import pytest

from otp_server.config.environment import Reading, read_environment
from otp_server.config.secret import Secret
from otp_server.config.settings import SETTINGS, Setting

LINE = f"a:{base64.b64encode(bytes(range(32))).decode()}"


def read(environ: dict[str, str], base: Path = Path("/")) -> Reading:
    reading = Reading()
    read_environment(reading, environ, base)
    return reading


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.path)
def test_every_key_has_its_variable(setting: Setting) -> None:
    reading = read({setting.variable: "\0"})
    touched = [*reading.values, *(problem.path.partition("[")[0] for problem in reading.problems)]
    assert touched == [setting.path]


def test_other_variables_are_nobodys_business() -> None:
    reading = read({"PATH": "/bin", "OTP_SERVERS": "x", "otp_server_x": "y"})
    assert reading == Reading()


@pytest.mark.parametrize(
    ("variable", "mend"),
    [
        ("OTP_SERVER_DEVICE__CODE_LENGHT", "did you mean OTP_SERVER_DEVICE__CODE_LENGTH?"),
        ("OTP_SERVER_DEVICE_CODE_LENGTH", "did you mean OTP_SERVER_DEVICE__CODE_LENGTH?"),
        ("OTP_SERVER_KEYS__CODE_FILES", "did you mean OTP_SERVER_KEYS__CODE_FILE?"),
        ("OTP_SERVER_QQQQQQQQQQQQQQQQQQQQ", "unset it"),
        ("OTP_SERVER_STORE__URL_FILE", "give the value itself"),
        ("OTP_SERVER_DELIVERY__EMAIL__HOST_FILE", "give the value itself"),
        ("OTP_SERVER_DELIVERY__EMIAL__KIND", "did you mean OTP_SERVER_DELIVERY__EMAIL__KIND?"),
    ],
)
def test_an_unknown_variable_is_a_problem(variable: str, mend: str) -> None:
    (problem,) = read({variable: "hunter2"}).problems
    assert problem.origin == variable
    assert mend in problem.mend
    assert "hunter2" not in str(problem)


@pytest.mark.parametrize(
    "variable",
    [
        "OTP_SERVER_SERVICE_HOST",
        "OTP_SERVER_SERVICE_PORT",
        "OTP_SERVER_SERVICE_PORT_HTTP",
        "OTP_SERVER_PORT",
        "OTP_SERVER_PORT_8700_TCP",
        "OTP_SERVER_PORT_8700_TCP_ADDR",
    ],
)
def test_what_kubernetes_sets_by_itself_is_passed_over(variable: str) -> None:
    assert read({variable: "tcp://10.0.0.1:8700"}) == Reading()


def test_keys_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "code").write_text(f"# current\n{LINE}\n")
    reading = read({"OTP_SERVER_KEYS__CODE_FILE": "code"}, tmp_path)
    assert repr(reading.values["keys.code"]) == "SecretKeys([<key 'a'>])"
    assert reading.origins["keys.code"] == f"OTP_SERVER_KEYS__CODE_FILE={tmp_path / 'code'}"
    assert not reading.problems


@pytest.mark.parametrize("text", ["hunter 2", "hunter 2\n", "hunter 2\r\n"])
def test_a_secret_comes_from_a_file_without_its_line_end(text: str, tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(text.encode())
    variable = "OTP_SERVER_DELIVERY__EMAIL__PASSWORD_FILE"
    reading = read({variable: "password"}, tmp_path)
    assert reading.values == {"delivery.email.password": Secret("hunter 2")}
    assert reading.origins["delivery.email.password"] == f"{variable}={tmp_path / 'password'}"
    assert not reading.problems


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "it holds nothing"), ("\n", "it holds nothing"), ("hunter2\nhunter3\n", "not one line")],
)
def test_a_bad_secret_file_is_named_and_not_quoted(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(text)
    (problem,) = read({"OTP_SERVER_DELIVERY__SMS__TOKEN_FILE": "token"}, tmp_path).problems
    assert problem.path == "delivery.sms.token"
    assert reason in problem.reason
    assert problem.mend == "write one line"
    assert "hunter" not in str(problem)


def test_a_missing_file_is_named() -> None:
    reading = read({"OTP_SERVER_KEYS__CODE_FILE": "/nowhere/code"})
    (problem,) = reading.problems
    assert problem.path == "keys.code"
    assert problem.origin == "OTP_SERVER_KEYS__CODE_FILE"
    assert problem.reason == "/nowhere/code cannot be read (No such file or directory)"
    assert reading.spoilt == {"keys.code"}


def test_a_bad_file_is_named_and_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "code").write_text("hunter2\n")
    (problem,) = read({"OTP_SERVER_KEYS__CODE_FILE": "code"}, tmp_path).problems
    assert problem.reason == f"{tmp_path / 'code'}: line 1 has no id before a colon"


def test_value_and_file_together_are_a_problem(tmp_path: Path) -> None:
    (tmp_path / "code").write_text(LINE)
    environ = {"OTP_SERVER_KEYS__CODE": LINE, "OTP_SERVER_KEYS__CODE_FILE": "code"}
    (problem,) = read(environ, tmp_path).problems
    assert problem.reason == "OTP_SERVER_KEYS__CODE is set too"
    assert problem.mend == "unset one of the two"
