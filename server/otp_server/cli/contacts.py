"""Phone numbers and e-mail addresses that had too many wrong codes."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from otp_server.cli.frame import AsJson, ConfigFile, Tenant, show, with_installation
from otp_server.domain.account import tenant_of
from otp_server.domain.challenge_type import Channel
from otp_server.errors import InvalidFields, OtpServerError

contact_app = App(name="contact", help="Contacts that had too many wrong codes.")


@contact_app.command(name="forgive")
def contact_forgive(
    *,
    tenant: Tenant | None = None,
    organisation: Annotated[
        str | None,
        Parameter(help="Instead of a tenant: the organisation of an account of the svc face."),
    ] = None,
    phone: Annotated[str | None, Parameter(help="The phone number, with + or 00.")] = None,
    email: Annotated[str | None, Parameter(help="The e-mail address.")] = None,
    config: ConfigFile = None,
    json: AsJson = False,
) -> None:
    """Forget the wrong codes counted against a contact, so that it may be tried again."""
    given = [(Channel.SMS, phone), (Channel.EMAIL, email)]
    named = [(channel, contact) for channel, contact in given if contact is not None]
    if len(named) != 1:
        raise OtpServerError("name one contact: give --phone or --email")
    [(channel, contact)] = named
    if (tenant is None) == (organisation is None):
        raise OtpServerError("say whose contact it is: give --tenant or --organisation")
    owner = tenant or tenant_of(organisation or "")
    try:
        had = with_installation(
            config, lambda here: here.lockouts.forgive(owner, channel, contact), new=False
        )
    except InvalidFields as error:
        [[why]] = error.fields.values()
        raise OtpServerError(f"this contact cannot be used: {why}") from error
    text = "its wrong codes are forgotten" if had else "it had no wrong codes to forget"
    show({"forgiven": had}, json, text)
