"""OAuth's errors (RFC 6749, 5.2), as they go over the wire."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

_UNSAID = re.compile(r"[^ !#-\[\]-~]")
"""What an error_description may not have (RFC 6749, 5.2)."""


BASIC: Final = 'Basic realm="oauth"'


@dataclass(slots=True)
class OAuthError(Exception):
    """A request that is refused. `error` is a code of the specification that the endpoint follows, `description` a sentence for people who
    build the client: ASCII, without quotes and backslashes (RFC 6749, 5.2), and nothing in it that a stranger may not know."""

    error: str
    description: str
    status: int = 400
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.error}: {self.description}"


def invalid_request(description: str) -> OAuthError:
    """400: a parameter is missing, repeated or malformed."""
    return OAuthError("invalid_request", description)


def invalid_client(description: str) -> OAuthError:
    """The client is not who it says: 401, with the way to prove it that all endpoints take (RFC 9110, 15.5.2; RFC 6749, 5.2)."""
    return OAuthError("invalid_client", description, 401, {"WWW-Authenticate": BASIC})


def invalid_grant(description: str) -> OAuthError:
    """400: code or refresh token unknown, used, expired, or another client's."""
    return OAuthError("invalid_grant", description)


def invalid_scope(description: str) -> OAuthError:
    """400: nothing of what was asked for can be granted, or it is malformed."""
    return OAuthError("invalid_scope", description)


def sayable(text: str, most: int = 200) -> str:
    """What of a text an error_description may repeat."""
    return _UNSAID.sub("", text[: most + 1])[:most]


def wrong_member(failure: msgspec.DecodeError | RecursionError) -> str:
    """Which member of a JSON document is wrong, and why, for an error_description. Of what was sent only the name of a member that is not
    known is repeated."""
    if not isinstance(failure, msgspec.ValidationError):
        return "the body is no JSON: send an object"
    what, _, path = str(failure).partition(" - at `$")
    member = path.strip(".`")
    if "field `" in what:
        text = f"the member {what.partition('field `')[2].strip('`')} {'is missing' if 'required' in what else 'is not known here'}"
        return sayable(f"{text}, in {member}" if member else text)
    wanted = "Expected an id: letters, digits, - and ., at most 64" if "matching regex" in what else what
    return sayable(f"{member or 'the body'}: {wanted[:1].lower()}{wanted[1:]}".replace("`str`", "a text").replace("`", ""))
