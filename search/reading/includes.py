"""`_include` and `_revinclude` (https://hl7.org/fhir/R4/search.html#revinclude).

_include=Observation:subject            what the matches refer to by this parameter
_include=Observation:subject:Patient    the same, Patients only
_include=Observation:*, _include=*      by any of their references
_revinclude=Provenance:target           what refers to the matches
_include:iterate=Patient:organization   the same from what was included as well, until there is nothing new

References lead to the document of that address, canonicals to those of that URL (`search/types/canonical.py`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from search.clauses import Notes
from search.parameter import SearchParameter
from search.parameters import Parameters
from search.query import Include
from search.reading.hints import a, close_to

MAX_INCLUDES = 50

NAMES = ("_include", "_revinclude")


@dataclass(slots=True)
class Includes:
    """Those read so far, each once and in order. `searched` are the types that are searched for."""

    searched: Sequence[str]
    parameters: Parameters
    notes: Notes
    found: list[Include] = field(default_factory=list)

    def read(self, name: str, value: str) -> str | None:
        """Takes in one parameter, its name with its modifier; gives its value as it was applied, None if it was not."""
        code, _, suffix = name.partition(":")
        if suffix not in ("", "iterate"):
            was = ": that is how :iterate was called before R4" if suffix == "recurse" else ""
            self.notes.refuse(name, f"{name}: {code} takes no modifier but :iterate{was}", "not-supported")
            return None
        reader = self._forward if code == "_include" else self._reverse
        rules = reader(name, value, bool(suffix))
        if rules is None or not self._room(name, rules):
            return None
        self.found += [rule for rule in rules if rule not in self.found]
        return value

    def _room(self, name: str, rules: Sequence[Include]) -> bool:
        if len(self.found) + len(rules) <= MAX_INCLUDES + len(self.searched):
            return True
        self.notes.refuse(name, f"More than {MAX_INCLUDES} includes are given", "too-costly")
        return False

    def _forward(self, name: str, value: str, iterate: bool) -> list[Include] | None:
        if value == "*" and iterate:
            return self._pass_over(name, f"{name}=* would follow every reference of every type: name types, as in Observation:*")
        if value == "*":
            rules = [Include(type, self._references(type, "*"), None) for type in self.searched]
            return [rule for rule in rules if rule.parameters]
        source, code, target = _parts(value)
        if iterate and source not in self.parameters.types:
            return self._pass_over(
                name, f"{name} begins with a resource type, such as Patient:organization, not {value[:100]!r}{self._near(source)}"
            )
        if not iterate and source not in self.searched:
            types = " or ".join(f"{type}:parameter" for type in self.searched[:5])
            hint = "; from what is included itself, :iterate goes on" if source in self.parameters.types else ""
            return self._pass_over(name, f"{name} begins with the type searched for: {types}, not {value[:100]!r}{hint}")
        return self._one(name, value, Include(source, self._references(source, code), target or None, iterate=iterate), "any")

    def _reverse(self, name: str, value: str, iterate: bool) -> list[Include] | None:
        source, code, target = _parts(value)
        if source == "*":
            return self._pass_over(name, f"{name}=* would look through every type: name one, such as Provenance:target")
        if source not in self.parameters.types:
            return self._pass_over(
                name, f"{name} begins with a resource type, such as Provenance:target, not {value[:100]!r}{self._near(source)}"
            )
        if target and not iterate and target not in self.searched:
            types = " or ".join(self.searched[:5])
            return self._pass_over(name, f"{name}: the target can only be {types}, the type searched for, not {target[:100]!r}")
        found = self._references(source, code)
        if not iterate:
            found = tuple(p for p in found if not p.ends or not set(self.searched).isdisjoint(p.ends))
        wanted = "any" if iterate or len(self.searched) > 1 else self.searched[0]
        return self._one(name, value, Include(source, found, target or None, reverse=True, iterate=iterate), wanted)

    def _one(self, name: str, value: str, rule: Include, wanted: str) -> list[Include] | None:
        if not rule.parameters:
            text = f"{value[:100]!r} names no reference parameter of {rule.source} (to {wanted} resource)"
            return self._pass_over(name, f"{name}: {text}{self._hint(rule.source, value)}")
        if rule.target and not any(not p.ends or rule.target in p.ends for p in rule.parameters):
            return self._pass_over(name, f"{name}: {value[:100]!r} {self._never(rule.target)}")
        return [rule]

    def _never(self, target: str) -> str:
        if target in self.parameters.types:
            return f"never refers to {a(target)}"
        return f"ends with {target[:100]!r}, which is no resource type of FHIR R4{self._near(target)}"

    def _near(self, type: str) -> str:
        return close_to(type, self.parameters.types, 1)

    def _hint(self, source: str, value: str) -> str:
        code = _parts(value)[1]
        close = [c for c in self.parameters.suggest(source, code) if c != code and self.parameters.of(source)[c].included]
        return f" (did you mean {' or '.join(f'{source}:{each}' for each in close)}?)" if close else ""

    def _references(self, type: str, code: str) -> tuple[SearchParameter, ...]:
        """The reference parameter of that code, or all of a type (`*`), aliases left out; none if there is none to follow."""
        if code == "*":
            return tuple(p for p in self.parameters.of(type).values() if p.included and p.stored == p.code)
        parameter = self.parameters.find(type, code)
        return (parameter,) if parameter is not None and parameter.included else ()

    def _pass_over(self, name: str, text: str) -> list[Include] | None:
        self.notes.pass_over(name, text)
        return None


def _parts(value: str) -> tuple[str, str, str]:
    source, _, rest = value.partition(":")
    code, _, target = rest.partition(":")
    return source, code, target


def ends(rules: Iterable[Include]) -> frozenset[str]:
    """The types of documents that includes may lead to."""
    found: set[str] = set()
    for rule in rules:
        found.add(rule.source)
        found.update((rule.target,) if rule.target else (type for p in rule.parameters for type in p.ends))
    return frozenset(found)
