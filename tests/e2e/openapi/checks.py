"""One more check for schemathesis: what the document allows is never refused for its shape.

The faces answer 422 for what no schema can say: a number that no country has, a setting that is
not there, fields that do not fit each other. So ``positive_data_acceptance`` lets 422 pass
(``fuzzing.py``), and here each reason given with a 422 must be one of those. The svc face
says 400 where a socket is none of the caller's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import schemathesis

from otp_server.domain.contact import ContactProblem

if TYPE_CHECKING:
    from schemathesis import Case, CheckContext, Response

SHAPELY = (ContactProblem.TOO_LONG, ContactProblem.CONTROL_CHARACTERS)
"""What a schema can say of a contact."""
BEYOND_SCHEMAS = re.compile(
    "|".join(
        [
            # what a library or the store knows
            *(re.escape(problem.text) for problem in ContactProblem if problem not in SHAPELY),
            r"names nothing of this tenant that fits here",
            r"it has no route to send a code by",
            r"codes of this type are sent to it: give one",
            r"is 1 to 100 printable characters",  # Unicode's, which patterns cannot name
            r"entities type and id have 1 to 255 printable characters",
            r"with its longest values it takes .*",
            # fields that must fit each other, or what the setting has already
            r"is an integer from [456] to 32",
            r"is taken by a path of this service: choose another",
            r"an SMS has no subject: leave it empty",
            r"an e-mail needs a subject",
            r"is not the type in the path",
            r"entities\[\d\]\[(type|id)\] is required",  # each of a pair of parameters
            # what the installation is
            r"it holds \$\{domain\}, but this installation has none .*",
        ]
    )
)
INVALID_FIELDS = "INVALID_FIELDS"
SVC_MEANINGS = frozenset({"INVALID_SOCKET", "WEAK_PASSWORD"})
"""Why the svc face may answer 400 to what fits its schemas."""


@schemathesis.check
def refused_for_its_meaning_only(ctx: CheckContext, response: Response, case: Case) -> None:
    """AssertionError for a refusal of schema-valid data that is about a field's shape."""
    if case.meta is None or case.meta.generation.mode.is_negative:
        return
    if response.status_code == 400 and case.path.startswith("/-/svc/"):
        assert response.json()["error"] in SVC_MEANINGS, response.json()["reason"]
    if response.status_code != 422:
        return
    error = response.json()["error"]
    for field, told in error.get("fields", {}).items():
        for reason in told:
            known = BEYOND_SCHEMAS.fullmatch(reason) or BEYOND_SCHEMAS.fullmatch(
                f"{field} {reason}"
            )
            assert known, f"{error['code']}: {field} {reason}"
