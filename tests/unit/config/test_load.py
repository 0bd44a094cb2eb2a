import base64
import traceback
from pathlib import Path

import pytest

from otp_server.config.endpoint import Endpoint
from otp_server.config.load import load_config
from otp_server.config.problem import InvalidConfigError, Problem
from otp_server.config.schema import Config
from otp_server.config.settings import SECTIONS, SETTINGS, Setting
from tests.support.certificates import make_certificate

SECRET = base64.b64encode(bytes(range(32))).decode()


def write(folder: Path, text: str) -> Path:
    file = folder / "otp.toml"
    file.write_text(text)
    return file


def problems_of(path: Path | None, environ: dict[str, str] | None = None) -> list[Problem]:
    with pytest.raises(InvalidConfigError) as caught:
        load_config(path, environ or {})
    return list(caught.value.problems)


def test_nothing_at_all_is_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(None, {})
    assert config.server.data_dir == tmp_path / "otp-data"
    assert (config.device, config.confirm, config.ops) == (
        Config().device,
        Config().confirm,
        Config().ops,
    )


def test_the_environment_wins_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    file = write(tmp_path, '[device]\ncode_length = 7\nlisten = "[::1]:0"\n')
    config = load_config(file, {"OTP_SERVER_DEVICE__CODE_LENGTH": "8"})
    assert config.device.code_length == 8
    assert config.device.listen == Endpoint("::1", 0)
    assert config.device.code_length_max == 10


def test_sections_inside_another(tmp_path: Path) -> None:
    authorities = make_certificate(tmp_path).certificate
    file = write(
        tmp_path,
        f"""
        [delivery.email]
        host = "mail.example"
        from = "otp@example.com"
        ca_file = "{authorities.name}"
        [delivery.sms]
        kind = "none"
        """,
    )
    environ = {
        "OTP_SERVER_DELIVERY__EMAIL__KIND": "smtp",
        "OTP_SERVER_DELIVERY__EMAIL__USER": "otp",
        "OTP_SERVER_DELIVERY__EMAIL__PASSWORD": "hunter2",
    }
    delivery = load_config(file, environ).delivery
    assert (delivery.email.kind, delivery.email.host) == ("smtp", "mail.example")
    assert delivery.email.sender == "otp@example.com"
    assert delivery.email.ca_file == str(authorities)
    assert delivery.email.password.reveal() == "hunter2"
    assert delivery.email.port == 587
    assert delivery.sms.kind == "none"


def test_relative_paths_start_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    for name in ("a.pem", "b.pem"):
        (tmp_path / "etc" / name).write_text("")
    http = '[http]\ntransport = "hypercorn"\ntls_certificate = "a.pem"\n'
    write(tmp_path / "etc", f'{http}[server]\ndata_dir = "../var"\n')
    monkeypatch.chdir(tmp_path)
    config = load_config(Path("etc/otp.toml"), {"OTP_SERVER_HTTP__TLS_KEY": "b.pem"})
    assert config.http.tls == (tmp_path / "etc/a.pem", tmp_path / "etc/b.pem")
    assert config.server.data_dir == tmp_path / "etc/../var"
    assert config.device.tls is None


def test_absolute_paths_stay(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, '[server]\ndata_dir = "/srv/otp"'), {})
    assert config.server.data_dir == Path("/srv/otp")


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.path)
def test_a_wrong_type_names_key_file_and_variable(setting: Setting, tmp_path: Path) -> None:
    file = write(tmp_path, f"[{setting.section}]\n{setting.name} = {{}}\n")
    (problem,) = problems_of(file)
    assert (problem.path, problem.origin) == (setting.path, str(file))


@pytest.mark.parametrize("section", SECTIONS)
def test_an_unknown_key_in_every_section(section: str, tmp_path: Path) -> None:
    file = write(tmp_path, f"[{section}]\nqqqqqq = 'hunter2'\n")
    (problem,) = problems_of(file)
    assert problem == Problem(
        f"{section}.qqqqqq",
        str(file),
        "no key has this name",
        "remove it; `otp-server default-config` lists every key",
    )


@pytest.mark.parametrize(
    ("text", "path", "reason", "mend"),
    [
        ("[device]\ncode_lenght = 6", "device.code_lenght", "no key", "did you mean code_length?"),
        ("[device]\ndrain_s = 6", "device.drain_s", "no key", "did you mean server.drain_s?"),
        ("drain_s = 6", "drain_s", "outside of a section", "did you mean server.drain_s?"),
        ("[devices]\na = 6", "devices", "no section has this name", "did you mean device?"),
        ("[qqqq]\na = 6", "qqqq", "no section has this name", "remove it"),
        ("[[device]]\na = 6", "device", "a section, not a key", "write [device] on its own line"),
        ("device = 6", "device", "a section, not a key", "write [device] on its own line"),
        ("delivery = 6", "delivery", "a section, not a key", "write [delivery.email] on its own"),
        (
            "[delivery]\nhost = 6",
            "delivery.host",
            "outside of a section",
            "did you mean delivery.email.host?",
        ),
        (
            "[delivery.emial]\nhost = 6",
            "delivery.emial",
            "no section has this name",
            "did you mean delivery.email?",
        ),
        (
            "[delivery.email]\nhots = 6",
            "delivery.email.hots",
            "no key has this name",
            "did you mean host?",
        ),
        ("[device", "", "it is not TOML: ", "mend that line"),
        ("[ops]\n[ops]", "", "it is not TOML: ", "mend that line"),
    ],
)
def test_a_wrong_file_says_where_and_what(
    text: str, path: str, reason: str, mend: str, tmp_path: Path
) -> None:
    file = write(tmp_path, text)
    (problem,) = problems_of(file)
    assert (problem.path, problem.origin) == (path, str(file))
    assert reason in problem.reason
    assert mend in problem.mend


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path / "none.toml")
    assert str(problem).startswith(f"{tmp_path / 'none.toml'}: it cannot be read (No such file")


def test_a_file_must_be_utf8(tmp_path: Path) -> None:
    (tmp_path / "otp.toml").write_bytes(b"# \xff")
    (problem,) = problems_of(tmp_path / "otp.toml")
    assert problem.reason == "byte 2 is not UTF-8"


def test_all_problems_at_once_each_with_its_origin(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        [server]
        drain_s = "soon"
        [device]
        code_lenght = 7
        code_ttl_s = 29
        code_length = 9
        code_length_max = 8
        [ops]
        listen = "here"
        """,
    )
    environ = {"OTP_SERVER_CONFIRM__IN_ALL": "[]", "OTP_SERVER_NO__SUCH": "1"}
    found = {(problem.path, problem.origin) for problem in problems_of(file, environ)}
    assert found == {
        ("server.drain_s", str(file)),
        ("device.code_lenght", str(file)),
        ("device.code_ttl_s", str(file)),
        ("device.code_length_max", str(file)),
        ("ops.listen", str(file)),
        ("confirm.in_all", "OTP_SERVER_CONFIRM__IN_ALL"),
        ("no.such", "OTP_SERVER_NO__SUCH"),
    }


def test_a_wrong_value_is_a_problem_even_where_a_better_one_wins(tmp_path: Path) -> None:
    file = write(tmp_path, "[device]\ncode_length = 99\n")
    (problem,) = problems_of(file, {"OTP_SERVER_DEVICE__CODE_LENGTH": "6"})
    assert problem.origin == str(file)


def test_what_could_not_be_read_is_not_checked_against_others(tmp_path: Path) -> None:
    file = write(tmp_path, '[device]\ncode_length = 10\ncode_length_max = "12"\n')
    assert [problem.path for problem in problems_of(file)] == ["device.code_length_max"]
    broken = write(tmp_path, "[")
    environ = {"OTP_SERVER_SERVER__PROFILE": "production", "OTP_SERVER_HTTP__LISTEN": "[::]:1"}
    assert [problem.path for problem in problems_of(broken, environ)] == [""]


def test_a_check_blames_whoever_said_it(tmp_path: Path) -> None:
    file = write(tmp_path, "[device]\ncode_length = 10\n")
    (problem,) = problems_of(file, {"OTP_SERVER_DEVICE__CODE_LENGTH_MAX": "9"})
    assert problem.origin == "OTP_SERVER_DEVICE__CODE_LENGTH_MAX"


def test_no_key_shows_in_a_config_or_an_error(tmp_path: Path) -> None:
    file = write(tmp_path, f'[keys]\ncode = ["a:{SECRET}"]\n')
    environ = {
        "OTP_SERVER_KEYS__TOKEN": f"b:{SECRET}",
        "OTP_SERVER_DELIVERY__SMS__SECRET": SECRET,
    }
    config = load_config(file, environ)
    assert [key.key_id for key in (*config.keys.code, *config.keys.token)] == ["a", "b"]
    assert config.delivery.sms.secret.reveal() == SECRET
    assert SECRET[:8] not in f"{config!r}{config}"

    file.write_text(f'[keys]\ncode = ["a:{SECRET}"]\nqq = 1\ntoken = ["{SECRET}"]\n')
    with pytest.raises(InvalidConfigError) as caught:
        load_config(file, environ)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in shown.stack if "otp_server" in frame.filename]
    assert ours
    assert SECRET[:8] not in f"{ours}{[frame.locals for frame in ours]}{caught.value!r}"
    assert caught.value.__context__ is None
