"""`_list=42`: documents that a List names (https://hl7.org/fhir/R4/search.html#list)."""

from dataclasses import dataclass

from search.clauses import MAX_TERMS, Notes
from search.parameters import Parameters
from search.query import Clause, Has, Modifier, Term
from search.types.text import split
from search.values import TokenValue

NAME = "_list"


@dataclass(frozen=True, slots=True)
class Listed(Has):
    """Holds for what a List names in any entry. What it names by entries flagged `deleted` only, which no index tells from others, is
    taken off before the search."""

    @property
    def named(self) -> Clause:
        """The Lists, by their ids."""
        [clause] = self.conditions
        assert isinstance(clause, Clause)
        return clause


def read_list(name: str, value: str, parameters: Parameters, notes: Notes, shown: str) -> Listed | None:
    """The Condition of `_list=id,id`: the document is an item of one of these Lists. None where it cannot be, with the reason."""
    if name != NAME:
        notes.refuse(shown, f"{shown}: _list takes no modifier", "not-supported")
        return None
    ids = [text.removeprefix("List/") for text in split(value, ",") if text]
    functional = [id for id in ids if id.startswith("$")]
    if functional:
        text = f"{shown}: this server keeps no functional lists such as {functional[0][:100]} (what is current, by a server's own rules)"
        notes.refuse(shown, f"{text}; name a List resource by its id, as in _list=42", "not-supported")
        return None
    wrong = [id for id in ids if "/" in id]
    if wrong:
        notes.refuse(shown, f"{shown}: {wrong[0][:100]!r} is no List of this server; name one by its id, as in _list=42", "value")
        return None
    if len(ids) > MAX_TERMS:
        notes.refuse(shown, f"{shown} names {len(ids)} Lists; at most {MAX_TERMS} are allowed", "too-costly")
        return None
    terms = tuple(Term(TokenValue("", id)) for id in dict.fromkeys(ids))
    of_list = parameters.of("List")
    return Listed("List", (of_list["item"],), (Clause(of_list["_id"], Modifier.NONE, terms),))
