"""The types that several keys share: counts, seconds, windows, file names."""

from typing import Annotated

from msgspec import Meta

NUMBER_MAX = 1_000_000_000  # far above any use, far below what the core's integers hold
DAY_S = 86400

Count = Annotated[int, Meta(ge=1, le=NUMBER_MAX)]
Seconds = Annotated[int, Meta(ge=1, le=400 * DAY_S)]
Windows = Annotated[
    tuple[tuple[Count, Seconds], ...],
    Meta(
        min_length=1,
        extra={"wanted": "one or more [count, seconds] pairs, such as [[10, 60], [100, 3600]]"},
    ),
]
TlsFile = Annotated[str, Meta(pattern=r"\A[^\x00]*\Z", extra={"wanted": "a file name, or nothing"})]
