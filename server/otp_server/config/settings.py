"""The schema as a table: one row per key, for loading, rendering and messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from msgspec import Struct, structs

from otp_server.config.schema import Config

if TYPE_CHECKING:
    from collections.abc import Iterator

ENVIRONMENT_PREFIX = "OTP_SERVER_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One key, as loading and rendering look at it."""

    section: str
    """Its name in the file; a section inside another is written ``outer.inner``."""
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
        return ENVIRONMENT_PREFIX + self.path.replace(".", "__").upper()

    @property
    def type(self) -> object:
        """The bare type, without its Meta."""
        return get_args(self.annotation)[0]

    @property
    def description(self) -> str:
        """The sentence about it."""
        return "".join(meta.description or "" for meta in get_args(self.annotation)[1:])

    def hint(self, name: str) -> object:
        """A word of ``Meta.extra``, the key's own before its type's; None when it is not there."""
        extras = [meta.extra or {} for meta in reversed(get_args(self.annotation)[1:])]
        return next((extra[name] for extra in extras if name in extra), None)


def is_section(kind: object) -> bool:
    """Whether a field of this type is a section of its own and not a key."""
    return isinstance(kind, type) and issubclass(kind, Struct)


def _sections(struct: type[Struct], path: str = "") -> Iterator[tuple[str, type[Struct]]]:
    """The structs that hold keys, with their names in the file."""
    inner = [field for field in structs.fields(struct) if is_section(field.type)]
    if not inner:
        yield path, struct
    for field in inner:
        yield from _sections(field.type, f"{path}.{field.name}" if path else field.name)


SECTIONS: dict[str, type[Struct]] = dict(_sections(Config))
GROUPS: frozenset[str] = frozenset(path.rpartition(".")[0] for path in SECTIONS if "." in path)
"""Names that only hold sections, such as ``delivery``."""
SETTINGS: dict[str, Setting] = {
    setting.path: setting
    for section, struct in SECTIONS.items()
    for field in structs.fields(struct)
    for setting in [Setting(section, field.encode_name, field.type, field.default)]
}
