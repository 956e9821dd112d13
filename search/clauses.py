"""One criterion of a query, `name=value`, read as a Clause."""

from dataclasses import dataclass, field

from conformance.load import definitions
from resources.outcomes import Issue
from search.expansion.conditions import hierarchy
from search.parameter import SearchParameter
from search.parameters import Parameters
from search.query import NAMING_CODES, Clause, Modifier, Term
from search.reading.hints import SHAPING, close_to
from search.types import reference
from search.types.kinds import KINDS, MODIFYING, kind_of, takes
from search.types.text import BadValue, Reading, blank, split

MAX_TERMS = 1_000
"""Most alternatives (`a,b,c`) that one parameter may have."""

MAX_COMPARISONS = 10_000
"""Most comparisons that alternatives may stand for together: a quantity in a unit of UCUM is one in each that measures the same."""

MAX_COMPARISONS_TOGETHER = 20_000
"""Most of them in one query, those of each type that a chain may lead to counted."""

_LONGEST_TEXT = 500

_UNSUPPORTED = {
    "_query": "named queries (_query): none are defined here",
    "_type": "_type in a search of one type (it belongs to [base]?_type=Patient,Observation)",
    "_graph": "_graph, which is of no released version of FHIR",
    "_maxresults": "_maxresults (it is of a later version of FHIR; _count is the size of a page)",
}
_OF_THE_ADDRESS = {"_id": frozenset({Modifier.NOT}), "_lastUpdated": frozenset[Modifier]()}
"""Every document has these two, so `:missing` says nothing."""


@dataclass(slots=True)
class Spent:
    """What the parameters of a query stand for together: combinations of types in chains that leave them open, and comparisons."""

    ways: int = 0
    comparisons: int = 0


@dataclass(slots=True)
class Notes:
    """What reading a query brings to light: problems, what was applied, what was ignored and why; (name, text) each.

    `guess`: whether what may have been meant is looked for, which takes long; it need not be for texts that nobody is shown."""

    lenient: bool = False
    guess: bool = True
    spent: Spent = field(default_factory=Spent)
    issues: list[Issue] = field(default_factory=list)
    applied: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)

    def refuse(self, name: str, text: str, code: str = "value") -> None:
        """The request fails; `name` is the parameter as it was sent. Long texts (they quote what was sent) are cut."""
        self.issues.append(Issue("error", code, text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "…", name[:100]))

    def pass_over(self, name: str, text: str) -> None:
        """The parameter cannot be used: an error, or ignored where the client asked for lenient handling."""
        if self.lenient:
            self.ignored.append((name[:100], text))
        else:
            self.refuse(name, f"{text}. Send 'Prefer: handling=lenient' to have such parameters ignored", "not-supported")


def read_clause(
    type: str, name: str, value: str, parameters: Parameters, reading: Reading, notes: Notes, *, shown: str = ""
) -> Clause | None:
    """The Clause of `name[:modifier]=value`; None if there is none to apply, with the reason in `notes`.

    `shown`: the whole name where this one is the end of a chain."""
    code, _, suffix = name.partition(":")
    parameter = parameters.find(type, code)
    name = shown or name
    if parameter is None or not parameter.searchable:
        notes.pass_over(name, _unusable(type, code, parameter, parameters, guess=notes.guess))
        return None
    target = _target_type(parameter, suffix)
    modifier = Modifier.NONE if target else _modifier(suffix)
    if modifier is None or not (modifier is Modifier.NONE or modifier in allowed_modifiers(parameter, parameters)):
        notes.refuse(name, _bad_modifier(parameter, suffix, parameters), "not-supported")
        return None
    if modifier is Modifier.MISSING:
        return _missing(parameter, name, value, notes)
    terms = _terms(parameter, modifier, target, name, value, reading, notes)
    return Clause(parameter, modifier, terms) if terms else None


def allowed_modifiers(parameter: SearchParameter, parameters: Parameters) -> frozenset[Modifier]:
    """The modifiers that a searchable parameter takes, beside `:Type` for references."""
    if parameter.code in _OF_THE_ADDRESS:
        return _OF_THE_ADDRESS[parameter.code]
    facets = {modifier for modifier in MODIFYING if not parameter.custom and takes(parameter, modifier)}
    found = KINDS[parameter.kind].MODIFIERS | facets
    if parameter.kind == "reference" and hierarchy(parameter, parameters) is None:
        return found - {Modifier.ABOVE, Modifier.BELOW}
    return found | NAMING_CODES if parameter.kind == "token" else found


def _unusable(type: str, code: str, parameter: SearchParameter | None, parameters: Parameters, *, guess: bool) -> str:
    """Why a parameter cannot be used, in a sentence without its full stop."""
    if code in _UNSUPPORTED:
        return f"This server does not support {_UNSUPPORTED[code]}"
    close = parameters.suggest(type, code) if guess else []
    hint = f" (did you mean {' or '.join(close)}?)" if close else close_to(code, SHAPING) if code[:1] == "_" else ""
    return f"{type} has no search parameter {code[:100]!r}{hint}"


def _target_type(parameter: SearchParameter, suffix: str) -> str | None:
    """The resource type of `subject:Patient`, if that is what the suffix says."""
    if parameter.kind != "reference" or suffix not in definitions().types or definitions().types[suffix].kind != "resource":
        return None
    return suffix if not parameter.targets or suffix in parameter.targets else None


def _modifier(suffix: str) -> Modifier | None:
    return Modifier(suffix) if suffix in set(Modifier) else None


def _bad_modifier(parameter: SearchParameter, suffix: str, parameters: Parameters) -> str:
    allowed = sorted(f":{modifier}" for modifier in allowed_modifiers(parameter, parameters))
    if parameter.kind == "reference":
        allowed += [f":{type}" for type in parameter.targets[:5]] or [":Type"]
    choice = f"; it takes {', '.join(allowed)}" if allowed else "; it takes none"
    named = [name.removeprefix(":") for name in allowed] + list(parameter.targets)
    why = (
        f"; what :{suffix} looks at is not indexed for parameters that were added"
        if parameter.custom and suffix in MODIFYING
        else ""
    )
    return f"The modifier :{suffix[:100]} cannot be used with {parameter.code}{why}{choice}{close_to(suffix, named)}"


def _missing(parameter: SearchParameter, name: str, value: str, notes: Notes) -> Clause | None:
    if value not in ("true", "false"):
        notes.refuse(name, f"{name} is either true or false, not {value[:100]!r}")
        return None
    return Clause(parameter, Modifier.MISSING, (), missing=value == "true")


def _terms(
    parameter: SearchParameter, modifier: Modifier, target: str | None, name: str, value: str, reading: Reading, notes: Notes
) -> tuple[Term, ...]:
    """The terms of all alternatives, each once. Empty alternatives (`a,,b`) are passed over."""
    texts = [text for text in split(value, ",") if not blank(text)]
    if len(texts) > MAX_TERMS:
        notes.refuse(name, f"{name} has {len(texts)} alternatives; at most {MAX_TERMS} are allowed", "too-costly")
        return ()
    found: dict[Term, None] = {}
    for text in texts:
        try:
            if target:
                terms = reference.parse_typed(text, parameter, target, reading)
            else:
                terms = kind_of(parameter, modifier).parse(text, parameter, modifier, reading)
        except BadValue as problem:
            notes.refuse(name, f"{name}: {problem}")
        else:
            found.update(dict.fromkeys(terms))
            notes.spent.comparisons += len(terms)
            if notes.spent.comparisons > MAX_COMPARISONS_TOGETHER:
                wide = f"all alternatives of the search stand for more than {MAX_COMPARISONS_TOGETHER} comparisons, in all units and types"
                notes.refuse(name, f"{name}: {wide}; ask for fewer", "too-costly")
                return ()
            if len(found) > MAX_COMPARISONS:
                many = {"quantity": ", each in many units", "uri": ", each with many paths above it"}.get(parameter.kind, "")
                wide = f"the alternatives stand for more than {MAX_COMPARISONS} comparisons{many}"
                notes.refuse(name, f"{name}: {wide}; ask for fewer", "too-costly")
                return ()
    return tuple(found)
