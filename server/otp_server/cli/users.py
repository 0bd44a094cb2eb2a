"""Accounts of the svc face: who may sign in, and set a new password by a code."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from otp_server.cli.frame import AsJson, ConfigFile, show, with_installation
from otp_server.domain.account import MAIN_ORGANISATION
from otp_server.errors import AlreadyExists, InvalidFields, OtpServerError
from otp_server.services.accounts import NewAccount

if TYPE_CHECKING:
    from otp_server.services.accounts import AccountRow

_PASSWORD_BYTES_MAX = 64 * 1024

user_app = App(name="user", help="Accounts of the svc face.")


@user_app.command(name="add")
def user_add(  # noqa: PLR0913 - each is a flag
    *,
    email: Annotated[str, Parameter(help="The e-mail address: codes go there.")],
    password_stdin: Annotated[
        bool,
        Parameter(negative=(), help="Read the password from standard input, up to the line's end."),
    ] = False,
    first_name: Annotated[str, Parameter(help="As the account is shown.")] = "",
    last_name: Annotated[str, Parameter(help="As the account is shown.")] = "",
    organisation: Annotated[
        str, Parameter(help="Whose account it is; svc.hubs says by which hosts it is reached.")
    ] = MAIN_ORGANISATION,
    config: ConfigFile = None,
    json: AsJson = False,
) -> None:
    """Make an account and print its uid.

    Without a password nobody can sign in yet: its owner sets one by a code, at /-/reset.
    """
    new = NewAccount(
        email=email,
        organisation=organisation,
        firstname=first_name,
        lastname=last_name,
        password=_read_password() if password_stdin else None,
    )
    try:
        user = with_installation(config, lambda here: here.add_user(new), new=True)
    except InvalidFields as error:
        said = "; ".join(
            f"the {_WORDS.get(name, name)}: {why}"
            for name, whys in error.fields.items()
            for why in whys
        )
        raise OtpServerError(f"the account cannot be made: {said}") from error
    except AlreadyExists as error:
        raise OtpServerError(
            f"{organisation} has an account with this e-mail address: see otp-server user list"
        ) from error
    show({"uid": user.uid}, json, f"user {user.uid}")


_WORDS = {"email": "e-mail", "firstname": "first name", "lastname": "last name"}


def _read_password() -> str:
    """The first line of standard input, without its end."""
    line = sys.stdin.buffer.readline(_PASSWORD_BYTES_MAX)
    try:
        return line.removesuffix(b"\n").removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        raise OtpServerError("the password on standard input is not UTF-8") from error


@user_app.command(name="list")
def user_list(*, config: ConfigFile = None, json: AsJson = False) -> None:
    """Print every account."""
    found = with_installation(config, lambda here: here.users.list_all(), new=False)
    rows = [_row(account) for account in found]
    lines = [f"{'USER':16} {'PASSWORD':8} {'ORGANISATION':16} {'E-MAIL':32} NAME"]
    lines += [
        f"{row['uid']:16} {'yes' if row['has_password'] else 'no':8} {row['organisation']:16} "
        f"{row['email'] or '(its key is gone)':32} {row['firstname']} {row['lastname']}".rstrip()
        for row in rows
    ]
    show({"users": rows}, json, "\n".join(lines))


def _row(account: AccountRow) -> dict[str, Any]:
    return {
        "uid": account.uid,
        "organisation": account.organisation,
        "email": account.email,
        "firstname": account.firstname,
        "lastname": account.lastname,
        "has_password": account.has_password,
    }
