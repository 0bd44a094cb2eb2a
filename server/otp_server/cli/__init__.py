"""The commands of ``otp-server``. The only package that exits the process.

    frame        what all verbs share: their arguments, answers, opening the installation
    serving      serve, default-config, check-config
    devices      device add, list, revoke; org add
    keys         key add, list, revoke: API clients of the REST face
    users        user add, list: accounts of the svc face
    contacts     contact forgive
    audit        audit verify, export
    simulating   simulate

Every verb takes ``--config FILE``; those that print data take ``--json`` and then print one JSON
object on standard output. Errors go to standard error, say what to do, and exit 1; bad arguments
exit 2.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from cyclopts import App

from otp_server.cli.audit import audit_app
from otp_server.cli.contacts import contact_app
from otp_server.cli.devices import device_app, org_app
from otp_server.cli.keys import key_app
from otp_server.cli.serving import check_config, default_config, serve
from otp_server.cli.simulating import simulate
from otp_server.cli.users import user_app
from otp_server.errors import OtpServerError

if TYPE_CHECKING:
    from collections.abc import Iterator

app = App(
    name="otp-server", help="Issues and checks one-time passwords.", version_flags=["--version"]
)
app.command(serve)
app.command(default_config, name="default-config")
app.command(check_config, name="check-config")
for group in (device_app, org_app, key_app, user_app, contact_app, audit_app):
    app.command(group)
app.command(simulate)


def main() -> None:
    """Run a command and exit: 0 done, 1 it could not be, 2 it was not understood."""
    try:
        app()
    except OtpServerError as error:
        _fail(str(error))
    except ExceptionGroup as group:
        ours, others = group.split(OtpServerError)
        if others is not None or ours is None:
            raise
        _fail("; ".join(dict.fromkeys(str(error) for error in _leaves(ours))))
    except KeyboardInterrupt:
        sys.exit(130)


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _fail(message: str) -> None:
    print(f"otp-server: {message}", file=sys.stderr)
    sys.exit(1)
