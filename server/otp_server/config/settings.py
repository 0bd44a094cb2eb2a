"""The schema as a table: one row per key, for loading, rendering and messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from msgspec import structs

from otp_server.config.schema import Config

if TYPE_CHECKING:
    from msgspec import Struct

ENVIRONMENT_PREFIX = "OTP_SERVER_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One key, as loading and rendering look at it."""

    section: str
    name: str
    annotation: object
    default: object

    @property
    def path(self) -> str:
        """``section.name``."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable that overrides it."""
        return f"{ENVIRONMENT_PREFIX}{self.section}__{self.name}".upper()

    @property
    def type(self) -> object:
        """The bare type, without its Meta."""
        return get_args(self.annotation)[0]

    @property
    def description(self) -> str:
        """The sentence about it."""
        return "".join(meta.description or "" for meta in get_args(self.annotation)[1:])

    def hint(self, name: str) -> object:
        """A word of ``Meta.extra``; None when it is not there."""
        extras = [meta.extra or {} for meta in get_args(self.annotation)[1:]]
        return next((extra[name] for extra in extras if name in extra), None)


SECTIONS: dict[str, type[Struct]] = {field.name: field.type for field in structs.fields(Config)}
SETTINGS: dict[str, Setting] = {
    setting.path: setting
    for section, struct in SECTIONS.items()
    for field in structs.fields(struct)
    for setting in [Setting(section, field.name, field.type, field.default)]
}
