"""OAuth's errors (RFC 6749, 5.2), as they go over the wire."""

from collections.abc import Mapping
from dataclasses import dataclass, field


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


def invalid_client(description: str, *, basic: bool = False) -> OAuthError:
    """The client is not who it says. 401 with WWW-Authenticate where it tried HTTP Basic, else 400 would do too: always 401 here."""
    return OAuthError("invalid_client", description, 401, {"WWW-Authenticate": 'Basic realm="oauth"'} if basic else {})


def invalid_grant(description: str) -> OAuthError:
    """400: code or refresh token unknown, used, expired, or another client's."""
    return OAuthError("invalid_grant", description)


def invalid_scope(description: str) -> OAuthError:
    """400: nothing of what was asked for can be granted, or it is malformed."""
    return OAuthError("invalid_scope", description)
