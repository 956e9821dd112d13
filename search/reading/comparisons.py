"""One comparison of a `_filter`: `birthdate ge 2014-10-10` (the table of https://hl7.org/fhir/R4/search_filter.html).

| comparison | of | means |
|---|---|---|
| eq | all | has an equal value; strings as a whole, without case and accents |
| ne | all | has values, none of which is equal; dates and numbers as with the prefix ne |
| co, sw, ew | string | contains, starts with, ends with |
| gt lt ge le ap sa eb | date, number, quantity | the prefixes of the same name |
| po | date | the periods overlap |
| pr | all | has a value, or with `false` has none |
| ss, sb, in | token, uri | the modifiers :below, :above and :in |
| re | reference | eq |
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec
from lark import Token

from search.clauses import Notes, read_clause
from search.expansion.conditions import expanded
from search.parameter import SearchParameter
from search.parameters import Parameters
from search.query import AllOf, Clause, Condition, Modifier, Negation, Prefix
from search.types.text import Reading

_ORDERED = frozenset(("date", "number", "quantity"))
_PREFIXES = frozenset(("gt", "lt", "ge", "le", "ap", "sa", "eb"))
_STRINGS: Mapping[str, Modifier] = {
    "eq": Modifier.EQUALS,
    "co": Modifier.CONTAINS,
    "sw": Modifier.NONE,
    "ew": Modifier.ENDS,
}
_MODIFIERS: Mapping[str, str] = {"ss": "below", "sb": "above", "in": "in"}
OPERATORS = ("eq", "ne", "co", "sw", "ew", "gt", "lt", "ge", "le", "ap", "sa", "eb", "pr", "po", "ss", "sb", "in", "re")
_SPECIAL = re.compile(r"([\\,$])")
_BARE = re.compile(r"([,$])")


class Impossible(Exception):
    """A part of a filter that cannot be done, for the person who wrote it; `at` is its place in the text, from 0."""

    def __init__(self, text: str, at: int, code: str = "value") -> None:
        super().__init__(text)
        self.at, self.code = at, code


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is asked of a parameter: the operator, its place, and the value as it was written."""

    operator: str
    at: int
    value: Token

    @property
    def text(self) -> str:
        """The value as it would stand in a query string: what separates values there is escaped."""
        written = str(self.value)
        if not written.startswith('"'):
            return _BARE.sub(r"\\\1", written)
        try:
            return _SPECIAL.sub(r"\\\1", msgspec.json.decode(written, type=str))
        except msgspec.DecodeError:
            raise Impossible("this is no string as JSON writes it", self.value.start_pos or 0) from None


def compare(parameter: SearchParameter, asked: Comparison, parameters: Parameters, reading: Reading) -> Condition:
    """The Condition of one comparison. Raises Impossible."""
    operator, kind = asked.operator, parameter.kind
    made = _Maker(parameter, asked, parameters, reading)
    if operator == "pr":
        return made.present()
    if operator == "ne" and kind not in _ORDERED:
        equal = Negation(compare(parameter, replace(asked, operator="eq"), parameters, reading))
        return equal if parameter.code == "_id" else AllOf((Clause(parameter, Modifier.MISSING, ()), equal))
    if kind == "string" and operator in _STRINGS:
        return replace(made.clause(), modifier=_STRINGS[operator])
    if kind == "date" and operator == "po":
        clause = made.clause()
        return replace(clause, terms=tuple(replace(term, prefix=Prefix.AP) for term in clause.terms))
    if kind in _ORDERED and operator in ("eq", "ne", *_PREFIXES):
        return made.clause(prefix=operator)
    if (operator == "eq" and kind in ("token", "uri", "reference")) or (operator == "re" and kind == "reference"):
        return made.clause()
    if operator in _MODIFIERS and kind in ("token", "uri"):
        return expanded(made.clause(f":{_MODIFIERS[operator]}"), parameters)
    raise Impossible(f"{operator} does not compare {kind} parameters such as {parameter.code}", asked.at, "not-supported")


@dataclass(frozen=True, slots=True)
class _Maker:
    parameter: SearchParameter
    asked: Comparison
    parameters: Parameters
    reading: Reading

    def present(self) -> Clause:
        if self.asked.text not in ("true", "false"):
            raise Impossible("pr is either true or false", self.asked.value.start_pos or 0)
        return self._read(":missing", "false" if self.asked.text == "true" else "true")

    def clause(self, modifier: str = "", prefix: str = "") -> Clause:
        return self._read(modifier, self.asked.text, prefix)

    def _read(self, modifier: str, text: str, prefix: str = "") -> Clause:
        notes = Notes()
        code, type = self.parameter.code, self.parameter.type
        found = read_clause(type, f"{code}{modifier}", prefix + text, self.parameters, self.reading, notes)
        if not isinstance(found, Clause):
            issue = notes.issues[0] if notes.issues else None
            reason = issue.text.partition(". Send 'Prefer")[0] if issue else f"{code} cannot be compared with nothing"
            reason = reason.replace(
                f"'{prefix}{text[:9]}", f"'{text[:9]}"
            )  # the prefix is of the operator, not of what was written
            raise Impossible(reason, self.asked.value.start_pos or 0, issue.code if issue else "value")
        return found
