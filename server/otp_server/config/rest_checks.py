"""What the keys of the REST face must hold between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otp_server.config.finding import Finding
from otp_server.domain.contact import countries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otp_server.config.schema import Config

_DAY_S = 86400
_DAY_HOURS = 24
_STARTS = ("limits", "starts_per_tenant", "starts_in_all", "prefix_limit")


def check_rest(config: Config) -> Iterator[Finding]:
    """Retention and countries."""
    rest = config.rest
    for name in _STARTS:
        longest = max(seconds for _, seconds in getattr(rest, name))
        if rest.keep_days * _DAY_S < longest:
            yield Finding(
                ("rest.keep_days", f"rest.{name}"),
                f"{rest.keep_days} days are shorter than a window of rest.{name} ({longest} s)",
                f"give {-(-longest // _DAY_S)} or more, or a shorter window",
            )
    if rest.keep_days * _DAY_HOURS < rest.idempotency_hours:
        yield Finding(
            ("rest.idempotency_hours", "rest.keep_days"),
            f"{rest.idempotency_hours} hours are longer than rest.keep_days ({rest.keep_days})",
            f"give a whole number from 1 to {rest.keep_days * _DAY_HOURS}",
        )
    named = [("rest.default_country", "", rest.default_country)] if rest.default_country else []
    named += [("rest.countries", f"[{n}]", country) for n, country in enumerate(rest.countries)]
    for path, place, country in named:
        if country not in countries():
            yield Finding(
                (path,), f"{country!r} is no country with phone numbers", "see ISO 3166", place
            )
