import pytest

from otp_server.config.schema import Config
from otp_server.config.settings import SECTIONS, SETTINGS, Setting


def test_sections_in_the_order_of_the_file() -> None:
    assert list(SECTIONS) == ["server", "keys", "device", "confirm", "http", "ops", "store"]


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.path)
def test_every_key_has_a_sentence_and_a_default(setting: Setting) -> None:
    assert setting.description.endswith(".")
    assert getattr(getattr(Config(), setting.section), setting.name) == setting.default


def test_names() -> None:
    setting = SETTINGS["device.code_length"]
    assert setting.path == "device.code_length"
    assert setting.variable == "OTP_SERVER_DEVICE__CODE_LENGTH"
    assert setting.type is int
    assert setting.hint("wanted") is None
