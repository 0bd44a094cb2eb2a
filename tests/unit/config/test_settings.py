from functools import reduce

import pytest

from otp_server.config.schema import Config
from otp_server.config.settings import GROUPS, SECTIONS, SETTINGS, Setting


def test_sections_in_the_order_of_the_file() -> None:
    assert list(SECTIONS) == [
        "server",
        "keys",
        "device",
        "confirm",
        "http",
        "rest",
        "svc",
        "delivery.email",
        "delivery.sms",
        "ops",
        "store",
    ]
    assert frozenset({"delivery"}) == GROUPS


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.path)
def test_every_key_has_a_sentence_and_a_default(setting: Setting) -> None:
    assert setting.description.endswith(".")
    section = reduce(getattr, setting.section.split("."), Config())
    attribute = "sender" if setting.name == "from" else setting.name
    assert getattr(section, attribute) == setting.default


def test_names() -> None:
    setting = SETTINGS["device.code_length"]
    assert setting.path == "device.code_length"
    assert setting.variable == "OTP_SERVER_DEVICE__CODE_LENGTH"
    assert setting.type is int
    assert setting.hint("wanted") is None


def test_names_in_a_section_inside_another() -> None:
    setting = SETTINGS["delivery.email.from"]
    assert (setting.section, setting.name) == ("delivery.email", "from")
    assert setting.variable == "OTP_SERVER_DELIVERY__EMAIL__FROM"
    assert setting.hint("wanted") == "an address, such as Example <otp@example.com>"
