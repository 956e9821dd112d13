"""`_text=…` and `_content=…` as conditions."""

from search.clauses import Notes
from search.parameters import Parameters
from search.query import AnyOf, Condition, Text
from search.text.expression import BadText, parse_text
from search.types.text import split, unescape

TEXTS = ("_text", "_content")
"""The parameters that look into words."""

UNSEARCHED = "AuditEvent"
"""Of this type the server writes several with every request; no index keeps their words."""


def offered(type: str, parameters: Parameters) -> list[str]:
    """The codes of TEXTS that documents of a type can be searched by."""
    return [code for code in TEXTS if type != UNSEARCHED and parameters.find(type, code) is not None]


def read_text(type: str, name: str, value: str, parameters: Parameters, notes: Notes, *, shown: str) -> Condition | None:
    """The Condition of `_text=value` or `_content=value`; None if there is none to apply, with the reason in `notes`.

    Alternatives that a comma separates are alternatives here too."""
    code, _, suffix = name.partition(":")
    if code not in offered(type, parameters):
        notes.pass_over(shown, f"{type} cannot be searched by {code}")
        return None
    if suffix:
        notes.refuse(shown, f"The modifier :{suffix[:100]} cannot be used with {code}; it takes none", "not-supported")
        return None
    found: list[Condition] = []
    for text in filter(str.strip, split(value, ",")):
        try:
            found.append(Text(parse_text(unescape(text)), code == "_text"))
        except BadText as problem:
            notes.refuse(shown, f"{shown}: {problem}")
            return None
    return found[0] if len(found) == 1 else AnyOf(tuple(dict.fromkeys(found)))
