"""The audit trail: whether anybody changed it, and a copy to keep elsewhere."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import App, Parameter
from msgspec import structs

from otp_server.cli.frame import AsJson, ConfigFile, show, with_installation
from otp_server.errors import OtpServerError

if TYPE_CHECKING:
    from otp_server.registry import Installation
    from otp_server.services.audit import AuditLine

audit_app = App(name="audit", help="The audit trail.")


@audit_app.command(name="verify")
def audit_verify(*, config: ConfigFile = None, json: AsJson = False) -> None:
    """Walk the chain of hashes from the first entry and say where it breaks first.

    Entries that were cut off at the end do not show: compare the last hash with one noted before,
    or with the last line of an export kept elsewhere.
    """
    walk = with_installation(config, lambda here: here.audit.verify(), new=False)
    if walk.broken_seq is not None:
        raise OtpServerError(
            f"the audit trail is broken at entry {walk.broken_seq}: it, or entries before it, "
            f"were changed or removed; the {walk.entries} entries up to {walk.last_seq} hold"
        )
    digest = walk.last_digest.hex()
    answer = {"entries": walk.entries, "last_seq": walk.last_seq, "last_hash": digest}
    text = f"the audit trail holds: {walk.entries} entries, the last is {walk.last_seq} {digest}"
    show(answer, json, text)


@audit_app.command(name="export")
def audit_export(
    *,
    after: Annotated[int, Parameter(help="Only entries after this number.")] = 0,
    config: ConfigFile = None,
) -> None:
    """Print entries as JSON, one a line, oldest first."""

    async def export(here: Installation) -> None:
        seq = after
        while page := await here.audit.page_after(seq):
            sys.stdout.writelines(_line(line) + "\n" for line in page)
            seq = page[-1].seq
        sys.stdout.flush()

    try:
        with_installation(config, export, new=False)
    except* BrokenPipeError:  # who read it, such as head, had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing to flush at exit


def _line(line: AuditLine) -> str:
    fields = {"seq": line.seq, **structs.asdict(line.entry), "hash": line.digest.hex()}
    return msgspec.json.encode(fields).decode()
