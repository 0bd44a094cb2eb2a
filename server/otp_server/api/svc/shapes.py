"""What is sent to the services and what they answer (contracts B4 to B8).

An answer's data are one shape a service, for its good answer and for the failures that the contract
has as data; what an answer has not is left out. Clients may send more than is named here: it is
passed over.

msgspec reads the annotations, so they are no strings here.
"""

from typing import Annotated, Literal, TypedDict

import msgspec
from msgspec import UNSET, Meta, UnsetType

from otp_server.api.svc.parameters import VALUE_CHARACTERS_MAX, WHOLE_NUMBER_MAX
from otp_server.api.unshown import unshown
from otp_server.domain.account_outcome import SignedIn, UserView

ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*(?![\s\S])"
"""One line of text; the end is spelled so that Python and ECMA-262 mean the same."""
EMAIL_EXAMPLE = "email@example.com"
SECRET_EXAMPLE = "h2Vq0tS7mXc4Lz9RbTnY1k"  # noqa: S105 - an example
SOCKET_EXAMPLE = "m0vQb8yJtWm1cPq3sXk5Zg"
UID_EXAMPLE = "5f0c1e7a9b3d2846"
USER_EXAMPLE = {
    "id": UID_EXAMPLE,
    "uid": UID_EXAMPLE,
    "email": EMAIL_EXAMPLE,
    "firstname": "Ada",
    "lastname": "Lovelace",
    "signed_in": 1,
}
SIGNED_IN_EXAMPLE = {
    "status": "ok",
    "user": USER_EXAMPLE,
    "organization": {"name": "main"},
    "hub": {"host": "app.example"},
}


def _line(description: str, example: str) -> Meta:
    return Meta(
        min_length=1,
        max_length=VALUE_CHARACTERS_MAX,
        description=description,
        examples=[example],
        extra_json_schema={"pattern": ONE_LINE},
    )


_Email = Annotated[str, _line("The account's e-mail address.", EMAIL_EXAMPLE)]
_Socket = Annotated[
    str,
    _line("An open socket of the caller's session, as its `sys.hello` named it.", SOCKET_EXAMPLE),
]
_Secret = Annotated[str, _line("What otp.send gave.", SECRET_EXAMPLE)]
_Code = (
    Annotated[
        str,
        Meta(
            max_length=VALUE_CHARACTERS_MAX,
            description="The code; blanks and dashes do not matter.",
            examples=["012345"],
            extra_json_schema={"pattern": ONE_LINE},
        ),
    ]
    | Annotated[
        int, Meta(ge=0, le=WHOLE_NUMBER_MAX, description="The same without its leading zeros.")
    ]
)
_Password = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=VALUE_CHARACTERS_MAX,
        description="Any characters.",
        examples=["correct horse battery"],
        extra_json_schema={"format": "password"},
    ),
]
_EchoBack = (
    Annotated[
        str,
        Meta(
            max_length=VALUE_CHARACTERS_MAX,
            description="Repeated in the answer's data.",
            extra_json_schema={"pattern": ONE_LINE},
        ),
    ]
    | Annotated[int, Meta(ge=-WHOLE_NUMBER_MAX, le=WHOLE_NUMBER_MAX)]
)


class AskedBody(msgspec.Struct, kw_only=True, rename={"echo_id": "echoId"}):
    """Parameters of a call."""

    __repr__ = unshown
    echo_id: _EchoBack | None = None


class SendBody(AskedBody, kw_only=True):
    """otp.send."""

    email: _Email
    socket_id: _Socket
    method: (
        Annotated[
            str,
            Meta(
                max_length=VALUE_CHARACTERS_MAX,
                description="Codes of different methods do not supersede each other.",
                examples=["otp"],
                extra_json_schema={"pattern": ONE_LINE},
            ),
        ]
        | None
    ) = None


class CheckBody(AskedBody, kw_only=True):
    """otp.verify."""

    email: _Email
    code: _Code
    secret: _Secret
    socket_id: _Socket


class ChangeBody(AskedBody, kw_only=True):
    """otp.set_password."""

    uid: Annotated[str, _line("The account: its uid or its e-mail address.", UID_EXAMPLE)]
    code: _Code
    secret: _Secret
    password: _Password
    socket_id: _Socket


class SignInBody(AskedBody, kw_only=True):
    """session.sign_in."""

    email: _Email
    password: _Password
    socket_id: (
        Annotated[
            str,
            Meta(
                max_length=VALUE_CHARACTERS_MAX,
                description="The caller's own socket, which stays open; others are closed.",
                examples=[SOCKET_EXAMPLE],
                extra_json_schema={"pattern": ONE_LINE},
            ),
        ]
        | None
    ) = None


class NothingBody(AskedBody, kw_only=True):
    """A service without parameters."""


class Answered(msgspec.Struct, kw_only=True, frozen=True, rename={"echo_id": "echoId"}):
    """Data of an answer."""

    __repr__ = unshown
    echo_id: str | int | UnsetType = UNSET


class SendData(Answered, kw_only=True, frozen=True):
    """otp.send. Of ``no-user`` there are ``status`` and ``email`` alone.

    ``sent``: whether the message was handed over in time. ``secret`` goes with every later call.
    Where accounts are not revealed, what is behind ``email`` is left out, and there is no
    ``no-user``. ``otp`` says that the account has no second factor.
    """

    status: Literal["ok", "no-user"]
    sent: Literal[0, 1] | UnsetType = UNSET
    secret: str | UnsetType = UNSET
    email: str
    id: str | UnsetType = UNSET
    uid: str | UnsetType = UNSET
    domain: str | UnsetType = UNSET
    firstname: str | UnsetType = UNSET
    lastname: str | UnsetType = UNSET
    ident: str | UnsetType = UNSET
    username: str | UnsetType = UNSET
    otp: Literal[0] | UnsetType = UNSET


class CheckData(Answered, kw_only=True, frozen=True):
    """otp.verify. A right code gives the record, without ``status``; any other ``error`` and it.

    ``ctime`` and ``expiry`` are Unix seconds; after ``expiry`` the code is wrong.
    """

    error: Literal[1] | UnsetType = UNSET
    status: Literal["no-socket", "no-user", "wrong-code"] | UnsetType = UNSET
    uid: str | UnsetType = UNSET
    secret: str | UnsetType = UNSET
    code: str | UnsetType = UNSET
    ctime: int | UnsetType = UNSET
    expiry: int | UnsetType = UNSET


class UserData(msgspec.Struct, frozen=True):
    """The account that is signed in. ``id`` and ``uid`` are the same."""

    __repr__ = unshown
    id: str
    uid: str
    email: str
    firstname: str
    lastname: str
    signed_in: Literal[1]


def user_data(user: UserView) -> UserData:
    """An account that is signed in."""
    return UserData(user.uid, user.uid, user.email, user.firstname, user.lastname, 1)


class OrganisationData(msgspec.Struct, frozen=True):
    """Whose account it is."""

    name: str


class HubData(msgspec.Struct, frozen=True):
    """By which host the caller came."""

    host: str


class WhoAndWhere(TypedDict):
    """What is told of a caller who was signed in just now."""

    user: UserData
    organization: OrganisationData
    hub: HubData


def signed_in_data(done: SignedIn) -> WhoAndWhere:
    """The account, its organisation, and the host it came by."""
    return WhoAndWhere(
        user=user_data(done.user),
        organization=OrganisationData(done.user.organisation),
        hub=HubData(done.session.host),
    )


class SignedInData(Answered, kw_only=True, frozen=True):
    """session.sign_in: the account, and a cookie with a new session."""

    status: Literal["ok"]
    user: UserData
    organization: OrganisationData
    hub: HubData


class ChangeData(Answered, kw_only=True, frozen=True):
    """otp.set_password. Of a failure there are ``error``, ``status`` and perhaps ``message``."""

    error: Literal[1] | UnsetType = UNSET
    status: Literal["ok", "no-socket", "no-user", "wrong-otp"]
    message: str | UnsetType = UNSET
    user: UserData | UnsetType = UNSET
    organization: OrganisationData | UnsetType = UNSET
    hub: HubData | UnsetType = UNSET


class TokenData(Answered, kw_only=True, frozen=True):
    """bootstrap.authn. ``user`` is there when the caller is signed in."""

    token: str
    user: UserData | UnsetType = UNSET


class NothingData(Answered, kw_only=True, frozen=True):
    """Done."""
