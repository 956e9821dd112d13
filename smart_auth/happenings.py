"""What happens in sign-in and administration, for the audit: `fhir_server` makes AuditEvents of it, committed with what it tells of."""

from typing import Literal

import msgspec

Outcome = Literal["0", "4", "8"]
"""As AuditEvent.outcome: success, the caller's fault, ours."""

Code = Literal["login", "logout", "grant", "token", "revoke", "user", "client", "keys", "credentials", "launch", "break-glass"]


class Happening(msgspec.Struct, frozen=True):
    """One thing that happened. `text` says what in plain words (never a secret, never content of a record), `subject` is the user (or
    client) who did it, `about` are references and names it was done to (`Patient/1`, `user/anna`, `client/abc`)."""

    code: Code
    text: str
    outcome: Outcome = "0"
    subject: str = ""
    client: str = ""
    address: str = ""
    about: tuple[str, ...] = ()
    patient: str = ""
