"""Compile the official R4 definitions (conformance/definitions/*.gz) to the tables that conformance/load.py loads.

Run by `make setup`; does nothing if the tables are newer than everything they are made of.
"""

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from conformance.load import (  # noqa: E402  (the tables' own shapes; the path is set two lines above)
    COMPILED,
    Constraint,
    Definitions,
    Element,
    ExtensionDefinition,
    SearchParameterDefinition,
    TypeDefinition,
)
from conformance.terminology.code_systems import code_tree  # noqa: E402

SOURCE = ROOT / "conformance" / "definitions"
NATIVE = {"ele-1", "ext-1"}
"""Invariants of every element and extension: each walk checks them itself, they are not listed 8,000 times."""

Json = dict[str, Any]


def lines(name: str) -> Iterator[Json]:
    with gzip.open(SOURCE / name, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def whole(name: str) -> Json:
    with gzip.open(SOURCE / name, "rt", encoding="utf-8") as file:
        return json.load(file)


def type_code(type_: Json) -> str:
    """The FHIR type code of an ElementDefinition.type; ids and primitive values carry theirs in an extension."""
    code = type_.get("code", "")
    if code.startswith("http://hl7.org/fhirpath/"):
        for extension in type_.get("extension", []):
            if extension["url"].endswith("structuredefinition-fhir-type"):
                return extension.get("valueUrl") or extension.get("valueUri")
        return "string"
    return code


class StructureCompiler:
    """Turns StructureDefinitions into TypeDefinitions, collecting the invariants by key on the way."""

    def __init__(self) -> None:
        self.types: dict[str, TypeDefinition] = {}
        self.constraints: dict[str, Constraint] = {}

    def add(self, structure: Json) -> None:
        name, kind = structure["type"], structure["kind"]
        kind = {"complex-type": "complex", "primitive-type": "primitive"}.get(kind, kind)
        base = structure.get("baseDefinition", "").rsplit("/", 1)[-1] or None
        rows = structure["snapshot"]["element"]
        self._type(name, kind, base, structure.get("abstract", False), rows[0], rows)
        for row in rows[1:]:
            codes = {type_code(t) for t in row.get("type", [])}
            if codes & {"BackboneElement", "Element"} and self._children(row["path"], rows):
                base = "BackboneElement" if "BackboneElement" in codes else "Element"
                self._type(row["path"], "backbone", base, False, row, rows)

    @staticmethod
    def _children(path: str, rows: list[Json]) -> list[Json]:
        depth = path.count(".") + 1
        return [r for r in rows if r["path"].startswith(path + ".") and r["path"].count(".") == depth and ":" not in r["id"]]

    def _type(self, name: str, kind: str, base: str | None, abstract: bool, root: Json, rows: list[Json]) -> None:
        elements = {}
        for row in self._children(root["path"], rows):
            element = self._element(row, rows)
            elements[element.name] = element
        keys = self._keys(root) if kind != "backbone" else ()
        self.types[name] = TypeDefinition(name, kind, base, abstract, elements, keys)

    def _element(self, row: Json, rows: list[Json]) -> Element:
        name = row["path"].rsplit(".", 1)[-1]
        types = row.get("type", [])
        if name.endswith("[x]"):
            name = name[:-3]
            names = {name + (c := type_code(t))[0].upper() + c[1:]: c for t in types}
        elif "contentReference" in row:
            names = {name: row["contentReference"].lstrip("#")}
        elif types and type_code(types[0]) in ("BackboneElement", "Element") and self._children(row["path"], rows):
            names = {name: row["path"]}
        else:
            names = {name: type_code(types[0]) if types else "Element"}
        binding = row.get("binding", {})
        return Element(
            name=name,
            json=names,
            many=row["max"] not in ("0", "1"),
            min=row["min"],
            targets=targets(types),
            binding=binding["valueSet"].split("|")[0] if binding.get("strength") == "required" else None,
            summary=row.get("isSummary", False),
            modifier=row.get("isModifier", False),
            constraints=self._keys(row),
        )

    def _keys(self, row: Json) -> tuple[str, ...]:
        keys = []
        for constraint in row.get("constraint", []):
            key = constraint["key"]
            if key in NATIVE or "expression" not in constraint:
                continue
            made = Constraint(key, constraint["severity"], constraint["human"], constraint["expression"])
            if self.constraints.setdefault(key, made).expression != made.expression:
                key = f"{key}@{row['path']}"  # R4 uses a few keys (inv-1) for different rules
                self.constraints[key] = made
            keys.append(key)
        return tuple(keys)


def targets(types: list[Json]) -> tuple[str, ...]:
    """Resource types that the References and canonicals of an element may point to; empty if any."""
    names = {p.rsplit("/", 1)[-1] for t in types for p in t.get("targetProfile", [])}
    return () if "Resource" in names else tuple(sorted(names))


def added() -> Iterator[Json]:
    """What this server adds to R4: StructureDefinition and SearchParameters of ViewDefinition."""
    for entry in json.loads((SOURCE / "view-definition.json").read_text(encoding="utf-8"))["entry"]:
        yield entry["resource"]


def search_parameters() -> tuple[SearchParameterDefinition, ...]:
    made = []
    official = [entry["resource"] for entry in whole("search-parameters.r4.json.gz")["entry"]]
    for p in [*official, *(one for one in added() if one["resourceType"] == "SearchParameter")]:
        components = tuple((c["definition"], c["expression"]) for c in p.get("component", []))
        made.append(
            SearchParameterDefinition(
                p["url"],
                p["code"],
                p["type"],
                tuple(p["base"]),
                p.get("expression", ""),
                tuple(p.get("target", [])),
                components,
                p.get("description", ""),
            )
        )
    return tuple(made)


class TerminologyCompiler:
    """Enumerates the ValueSets of required bindings, and lists the complete CodeSystems."""

    def __init__(self) -> None:
        self.systems: dict[str, Json] = {}
        self.sets: dict[str, Json] = {}
        for resource in lines("terminology.r4.ndjson.gz"):
            where = self.systems if resource["resourceType"] == "CodeSystem" else self.sets
            where.setdefault(resource["url"], resource)

    def complete_systems(self) -> dict[str, frozenset[str]]:
        return {
            url: frozenset(self._codes(system.get("concept", [])))
            for url, system in self.systems.items()
            if system.get("content") == "complete" and system.get("concept")
        }

    def hierarchies(self) -> dict[str, dict[str, tuple[str, ...]]]:
        trees = {url: code_tree(self.systems[url]) for url in self.complete_systems()}
        return {
            url: {code: tuple(sorted(above)) for code, above in sorted(tree.parents.items())}
            for url, tree in trees.items()
            if tree.parents
        }

    def _codes(self, concepts: list[Json]) -> Iterator[str]:
        for concept in concepts:
            yield concept["code"]
            yield from self._codes(concept.get("concept", []))

    def _below(self, concepts: list[Json], code: str, inside: bool = False) -> Iterator[str]:
        for concept in concepts:
            here = inside or concept["code"] == code
            if here:
                yield concept["code"]
            yield from self._below(concept.get("concept", []), code, here)

    def expand(self, url: str) -> dict[str, set[str]] | None:
        """{system: codes} of a ValueSet, or None if it cannot be enumerated from the shipped definitions."""
        value_set = self.sets.get(url.split("|")[0])
        if value_set is None:
            return None
        out: dict[str, set[str]] = {}
        for include in value_set.get("compose", {}).get("include", []):
            part = self._part(include)
            if part is None:
                return None
            for system, codes in part.items():
                out.setdefault(system, set()).update(codes)
        for exclude in value_set.get("compose", {}).get("exclude", []):
            for system, codes in (self._part(exclude) or {}).items():
                out.get(system, set()).difference_update(codes)
        return out or None

    def _part(self, include: Json) -> dict[str, set[str]] | None:
        found: dict[str, set[str]] | None = None
        if "system" in include:
            codes = self._from_system(include)
            if codes is None:
                return None
            found = {include["system"]: codes}
        for url in include.get("valueSet", []):
            inner = self.expand(url)
            if inner is None:
                return None
            if found is None:
                found = {s: set(c) for s, c in inner.items()}
            else:
                found = {s: c & inner.get(s, set()) for s, c in found.items()}
        return found

    def _from_system(self, include: Json) -> set[str] | None:
        if "concept" in include:
            return {c["code"] for c in include["concept"]}
        system = self.systems.get(include["system"])
        if system is None or system.get("content") != "complete" or not system.get("concept"):
            return None
        codes = set(self._codes(system["concept"]))
        for rule in include.get("filter", []):
            if rule["op"] not in ("is-a", "descendent-of") or rule["property"] != "concept":
                return None
            under = set(self._below(system["concept"], rule["value"]))
            codes &= under - ({rule["value"]} if rule["op"] == "descendent-of" else set())
        return codes


def compartments() -> dict[str, dict[str, tuple[str, ...]]]:
    out = {}
    for entry in whole("compartment-definitions.r4.json.gz")["entry"]:
        c = entry["resource"]
        out[c["code"]] = {r["code"]: tuple(r["param"]) for r in c["resource"] if r.get("param")}
    return out


def extensions() -> dict[str, ExtensionDefinition]:
    out = {}
    for profile in lines("profiles-and-extensions.r4.ndjson.gz"):
        if profile.get("type") != "Extension" or profile["resourceType"] != "StructureDefinition":
            continue
        rows = {r["id"]: r for r in profile["snapshot"]["element"]}
        value = rows.get("Extension.value[x]", {})
        codes = tuple(type_code(t) for t in value.get("type", [])) if value.get("max") != "0" else ()
        contexts = tuple((c["type"], c["expression"]) for c in profile.get("context", []))
        out[profile["url"]] = ExtensionDefinition(profile["url"], codes, contexts, rows["Extension"].get("isModifier", False))
    return out


def build() -> Definitions:
    structures = StructureCompiler()
    for structure in lines("structure-definitions.r4.ndjson.gz"):
        if structure.get("derivation") != "constraint":
            structures.add(structure)
    for structure in added():
        if structure["resourceType"] == "StructureDefinition":
            structures.add(structure)
            structures.types[structure["type"]] = msgspec.structs.replace(structures.types[structure["type"]], added=True)
    terminology = TerminologyCompiler()
    bound = sorted({e.binding for t in structures.types.values() for e in t.elements.values() if e.binding})
    expanded = {url: terminology.expand(url) for url in bound}
    return Definitions(
        types=structures.types,
        constraints=structures.constraints,
        search_parameters=search_parameters(),
        value_sets={u: {s: frozenset(c) for s, c in v.items()} for u, v in expanded.items() if v},
        code_systems=terminology.complete_systems(),
        compartments=compartments(),
        extensions=extensions(),
        hierarchies=terminology.hierarchies(),
    )


def stale() -> bool:
    if not COMPILED.exists():
        return True
    made = COMPILED.stat().st_mtime
    sources = [*SOURCE.glob("*.gz"), *SOURCE.glob("*.json"), Path(__file__), ROOT / "conformance" / "load.py"]
    return any(path.stat().st_mtime > made for path in sources)


def main() -> None:
    if not stale():
        return
    definitions = build()
    COMPILED.parent.mkdir(exist_ok=True)
    partial = COMPILED.with_suffix(".partial")
    partial.write_bytes(msgspec.msgpack.encode(definitions))
    partial.replace(COMPILED)
    print(
        f"compiled {len(definitions.types)} types, {len(definitions.constraints)} invariants, "
        f"{len(definitions.search_parameters)} search parameters, {len(definitions.value_sets)} bound value sets"
    )


if __name__ == "__main__":
    main()
