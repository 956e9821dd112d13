"""The codes that value sets name (https://hl7.org/fhir/R4/valueset.html#compositions), from the ValueSets and CodeSystems stored here and
the official ones; and what is above and below a code.

What cannot be told in full is refused with the reason: half a value set would find half of the patients.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from conformance.load import definitions
from conformance.terminology.code_systems import CodeTree, code_tree, official_tree
from fhir_server.context import Context
from fhir_server.searching.listed import Flagged
from resources.documents import decode
from resources.outcomes import FhirError, error
from resources.store import Key, Version
from search.index import TooCostly
from search.query import Clause, Modifier, Query, Term
from search.values import UriValue

Code = tuple[str, str]
"""(system, code)"""

MOST_CODES = 10_000
"""Codes that a value set may have to be searched by."""

MOST_TOGETHER = 50_000
"""Codes that all value sets and hierarchies of one request may stand for, those of each clause counted, in each type searched."""

MOST_SETS = 500
"""Different value sets that one request may name, those inside others counted."""

OFFICIAL = "4.0.1"
"""The version of the official definitions."""

MOST_NESTED = 10
"""Value sets inside one another."""

Json = dict[str, Any]

_TOGETHER = "The value sets and hierarchies of the search name together"


class CannotExpand(Exception):
    """The codes cannot be told; the text is a sentence without its full stop."""


@dataclass(slots=True)
class ValueSets:
    """Looks up value sets and code systems for one request, each once, and keeps count. `listed`: what its Lists flag as deleted."""

    ctx: Context
    listed: Flagged = field(default_factory=Flagged)
    _trees: dict[str, CodeTree | None] = field(default_factory=dict)
    _sets: dict[str, set[Code]] = field(default_factory=dict)
    _named: int = 0
    _taken: int = 0

    def take(self, number: int) -> None:
        """Count the codes of a clause. Raises TooCostly where the request has too many."""
        self._taken += number
        if self._taken > MOST_TOGETHER:
            raise TooCostly(
                f"{_TOGETHER} more than {MOST_TOGETHER} codes; ask for smaller value sets, fewer of them, or fewer types"
            )

    async def codes(self, url: str, depth: int = 0) -> set[Code]:
        """The codes of the value set with this canonical URL (perhaps `url|version`) or address (`ValueSet/id`). Raises CannotExpand,
        TooCostly."""
        if depth > MOST_NESTED:
            raise CannotExpand(f"more than {MOST_NESTED} value sets stand inside one another, the last of them {url}")
        if url not in self._sets:
            self._named += 1
            if self._named > MOST_SETS:
                raise TooCostly(f"{_TOGETHER} more than {MOST_SETS} value sets, those inside others counted; name fewer")
            self._sets[url] = await self._found(url, depth)
        return self._sets[url]

    async def _found(self, url: str, depth: int) -> set[Code]:
        document = await self._value_set(url)
        if document is None:
            bare, _, wanted = url.partition("|")
            official = definitions().value_sets.get(bare)
            if official is None:
                raise CannotExpand(f"there is no ValueSet {url} on this server; store it (PUT ValueSet/…), or list the codes")
            if wanted not in ("", OFFICIAL):
                there = f"only {OFFICIAL}, that of the official definitions"
                raise CannotExpand(
                    f"version {wanted[:64]} of the ValueSet {bare} is not on this server, {there}; leave the version out"
                )
            return _bounded(url, {(system, code) for system, codes in official.items() for code in codes})
        if "compose" not in document:
            return _bounded(url, _expansion(url, document))
        try:
            return _bounded(url, await self._composed(url, document["compose"], depth))
        except CannotExpand:
            if "expansion" not in document:
                raise
            return _bounded(url, _expansion(url, document))  # somebody who could tell the codes has stored them with it

    async def related(self, system: str, code: str, *, below: bool) -> set[str]:
        """The code with all below it, or above it. Raises CannotExpand."""
        tree = await self._tree(system)
        if tree is None:
            raise CannotExpand(f"there is no CodeSystem {system} on this server, so what is above or below a code is not known")
        if code not in tree.codes:
            raise CannotExpand(f"the CodeSystem {system} on this server has no code {code!r}")
        return tree.below(code) if below else tree.above(code)

    async def _value_set(self, url: str) -> Json | None:
        if url.startswith("ValueSet/"):
            [version] = await self.ctx.store.read_many([Key("ValueSet", url.removeprefix("ValueSet/"))])
            return decode(version.body) if version is not None and version.body is not None else None
        version = await self._canonical("ValueSet", url)
        return _decoded(version.body) if version is not None and version.body is not None else None

    async def _canonical(self, type: str, url: str) -> Version | None:
        """The resource with a canonical URL: the newest here, or the one of the business version that the URL names."""
        bare, _, wanted = url.partition("|")
        parameter = self.ctx.parameters.of(type)["url"]
        clause = Clause(parameter, Modifier.NONE, (Term(UriValue(bare)),))
        found = await self.ctx.index.search(Query(type, (clause,), count=50, total="none"))
        versions = [v for v in await self.ctx.store.read_many(found.keys) if v is not None and v.body is not None]
        for version in sorted(versions, key=lambda v: -v.position):
            if not wanted or decode(version.body or b"{}").get("version") == wanted:
                return version
        return None

    async def _tree(self, system: str, wanted: str = "") -> CodeTree | None:
        """The newest here of a code system, or the one of the business version that is wanted. Raises CannotExpand for another version."""
        name = f"{system}|{wanted}" if wanted else system
        if name not in self._trees:
            version = await self._canonical("CodeSystem", name)
            if version is None and wanted not in ("", OFFICIAL):
                raise CannotExpand(f"version {wanted[:64]} of the CodeSystem {system} is asked for, which is not on this server")
            self._trees[name] = _tree_of(version.body) if version is not None and version.body is not None else _official(system)
        return self._trees[name]

    async def _composed(self, url: str, compose: Json, depth: int) -> set[Code]:
        if compose.get("inactive") is False:
            raise CannotExpand(f"{url} leaves out inactive codes (compose.inactive), and this server does not know which these are")
        found: set[Code] = set()
        for part in compose.get("include", ()):
            found |= await self._part(url, part, depth)
        for part in compose.get("exclude", ()):
            found = found - await self._part(url, part, depth)
        return found

    async def _part(self, url: str, part: Json, depth: int) -> set[Code]:
        """What an include or exclude names: all of its conditions hold for each code."""
        found: set[Code] | None = None
        system = part.get("system")
        if system is not None:
            found = {(system, code) for code in await self._of_system(url, system, part)}
        for nested in part.get("valueSet", ()):
            inner = await self.codes(nested, depth + 1)
            found = inner if found is None else found & inner
        return found or set()

    async def _of_system(self, url: str, system: str, part: Json) -> set[str]:
        if "concept" in part:
            return {concept["code"] for concept in part["concept"]}
        wanted = part.get("version", "")
        tree = await self._tree(system, wanted)
        if "filter" not in part:
            official = definitions().code_systems.get(system) if wanted in ("", OFFICIAL) else None
            if tree is not None and tree.complete:
                return set(tree.codes)
            if official is None:
                raise CannotExpand(f"{url} takes all codes of {system}, of which this server has no complete CodeSystem")
            return set(official)
        if tree is None:
            raise CannotExpand(f"{url} filters the codes of {system}, of which this server has no CodeSystem")
        found = set(tree.codes)
        for rule in part["filter"]:
            found &= _filtered(url, tree, rule)
        return found


def _filtered(url: str, tree: CodeTree, rule: Json) -> set[str]:
    op, value = rule.get("op"), rule.get("value", "")
    if rule.get("property") in ("concept", "code") and op in ("is-a", "descendent-of", "is-not-a"):
        below = tree.below(value) & tree.codes
        return below if op == "is-a" else below - {value} if op == "descendent-of" else set(tree.codes) - below
    raise CannotExpand(f"{url} has a filter that this server cannot evaluate ({rule.get('property')} {op} …)")


def _expansion(url: str, document: Json) -> set[Code]:
    """The codes of a stored expansion."""
    expansion = document.get("expansion")
    if expansion is None:
        raise CannotExpand(f"{url} has neither a compose nor an expansion, so it names no codes")
    found: set[Code] = set()
    left = list(expansion.get("contains", ()))
    while left:
        entry = left.pop()
        left += entry.get("contains", ())
        if "code" in entry and not entry.get("abstract"):
            found.add((entry.get("system", ""), entry["code"]))
    if expansion.get("total", 0) > len(found):
        raise CannotExpand(f"{url} is stored with a part of its expansion only ({len(found)} of {expansion['total']} codes)")
    return found


def _bounded(url: str, codes: set[Code]) -> set[Code]:
    if len(codes) > MOST_CODES:
        raise CannotExpand(f"{url} has {len(codes)} codes; at most {MOST_CODES} can be searched by")
    return codes


@lru_cache(maxsize=16)
def _decoded(body: bytes) -> Json:
    """A ValueSet, to be read only."""
    return decode(body)


@lru_cache(maxsize=16)
def _tree_of(body: bytes) -> CodeTree:
    return code_tree(decode(body))


@lru_cache(maxsize=16)
def _official(system: str) -> CodeTree | None:
    """The tree of an official CodeSystem, if it is known as a whole."""
    codes = definitions().code_systems.get(system)
    return official_tree(codes, definitions().hierarchies.get(system, {})) if codes is not None else None


def refusal(name: str, reason: CannotExpand) -> FhirError:
    """What the caller is told."""
    return error(400, "not-supported", f"{name} cannot be searched by: {reason}", name)
