"""The search that narrows a scope (`patient/Observation.rs?category=laboratory`), as clauses of a grant.

Consent asks `problem` before such a scope is given out, and a decision makes clauses of it by `clauses_of`: what the one accepts, the
other one understands.
"""

from collections.abc import Sequence
from functools import lru_cache

from resources.outcomes import FhirError
from search.parameters import Parameters, registry
from search.parse import parse
from search.query import NAMING_CODES, Clause

Pairs = Sequence[tuple[str, str]]
Bases = str | tuple[str, ...]


class CannotNarrow(ValueError):
    """The search cannot narrow a scope; the text is a sentence without its full stop."""


def problem(type: str, pairs: Pairs, base_url: Bases) -> str | None:
    """Why these parameters cannot narrow a scope of the type, or None if they can."""
    try:
        clauses_of(type, tuple(pairs), base_url)
    except CannotNarrow as reason:
        return str(reason)
    return None


@lru_cache(maxsize=4096)
def clauses_of(type: str, pairs: tuple[tuple[str, str], ...], base_url: Bases) -> tuple[Clause, ...]:
    """What must hold for a document that the scope gives. Raises CannotNarrow for all but plain parameters of the type.

    Only official parameters can narrow: one that was added to this server can be changed by whoever may write SearchParameters.
    """
    official: Parameters = registry()
    if type not in official.types:
        raise CannotNarrow(f"{type} is not a resource type of FHIR R4")
    try:
        parsed = parse(type, pairs, parameters=official, base_url=base_url)
    except FhirError as wrong:
        raise CannotNarrow("; ".join(issue.text for issue in wrong.issues)) from None
    if parsed.ignored:
        name, reason = parsed.ignored[0]
        raise CannotNarrow(f"{name} cannot narrow a scope: {reason}")
    plain = tuple(condition for condition in parsed.query.clauses if isinstance(condition, Clause))
    others = [name for name, _ in pairs if name.startswith("_") and name.partition(":")[0] not in _OF_EVERY_TYPE]
    if others or not plain or len(plain) != len(parsed.query.clauses):
        raise CannotNarrow(
            f"{others[0] if others else pairs[0][0]} cannot narrow a scope: give parameters of {type} itself, no chains and nothing that "
            "shapes the answer"
        )
    naming = [clause for clause in plain if clause.modifier in NAMING_CODES and clause.parameter.kind == "token"]
    if naming:
        raise CannotNarrow(f"{naming[0].parameter.code}:{naming[0].modifier} cannot narrow a scope: list the codes themselves")
    return plain


_OF_EVERY_TYPE = frozenset(("_id", "_lastUpdated", "_tag", "_profile", "_security", "_source"))
"""Parameters beginning with `_` that say what a document is."""
