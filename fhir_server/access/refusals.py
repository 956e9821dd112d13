"""403 for too little access (RFC 6750, 3.1): which scope would be needed, and nothing about what there is."""

from fhir_server.access.decision import NAMES, Decision
from fhir_server.rest.identity import REALM
from resources.outcomes import FhirError, Issue


class NotGranted(FhirError):
    """What a write would do is not granted. `index` is the number of the Change at fault."""

    __slots__ = ("index",)

    def __init__(self, cause: FhirError, index: int) -> None:
        super().__init__(cause.status, cause.issues, cause.headers)
        self.index = index


def insufficient(decision: Decision, letters: str, type: str) -> FhirError:
    """The access token has no scope for this ("": for any type)."""
    scope = f"{decision.scope}/{type or '*'}.{letters}"
    doing = " and ".join(NAMES[letter] for letter in letters)
    text = f"To {doing} {type or 'resources'} the scope {scope} is needed, which the access token does not have"
    return _refused(scope, f"{text}, or its user may not use")


def outside(decision: Decision, letter: str, type: str) -> FhirError:
    """The access token has a scope for the type, but not for this document."""
    scope = f"{decision.scope}/{type}.{letter}"
    text = f"The access token does not allow to {NAMES[letter]} this {type}"
    text = f"{text}: it lies outside of the record, or is not of the kind, that its scopes name"
    return _refused(scope, text)


def administration(decision: Decision) -> FhirError:
    """Only administrators do this."""
    text = "This changes how the server works: it needs an administrator, or a client with the scope system/SearchParameter.cu"
    return _refused("system/SearchParameter.cu", text)


def unscored() -> FhirError:
    """How often a word stands in documents of others would show in the scores."""
    text = "_sort=_score needs access to all documents: scores tell how rare a word is among all there are; sort by a date"
    return FhirError(403, [Issue("error", "forbidden", text)])


def _refused(scope: str, text: str) -> FhirError:
    challenge = f'{REALM}, error="insufficient_scope", scope="{scope}"'
    return FhirError(403, [Issue("error", "forbidden", text)], {"WWW-Authenticate": challenge})
