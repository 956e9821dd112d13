"""The rules as they are written in rules.csv, and the lists beside it. docs/bulk.md shows them; nothing is kept that has no row."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent


class Row(NamedTuple):
    """One rule. `kind`: resource, datatype, element or extension; `where`: a type's name, an element's path ("Resource.id": of every
    resource) or an extension's URL; `rule`: what is done, for an extension the names of the nested ones that stay; `identifiers`: the
    letters of 164.514(b)(2)(i) that it is about."""

    kind: str
    where: str
    rule: str
    identifiers: str
    note: str


class CodeSystem(NamedTuple):
    """A code system whose codes say nothing of a person. `system`: its URL (ending in `*`: all that begin so); `form`: what its codes
    look like, a regular expression."""

    system: str
    form: str
    note: str


class SparsePrefix(NamedTuple):
    """The first three digits of zip codes of an area with 20,000 people or fewer, and which lists name it."""

    prefix: str
    listed_by: str


@dataclass(frozen=True)
class Rules:
    """The rules by what they are about: type -> rule, path -> rule, URL -> names of nested extensions that stay."""

    resources: Mapping[str, str]
    datatypes: Mapping[str, str]
    elements: Mapping[str, str]
    extensions: Mapping[str, frozenset[str]]

    def exported(self, type: str) -> bool:
        """Whether documents of the resource type are exported at all."""
        return self.resources.get(type) == "walk"


@lru_cache(maxsize=1)
def rows() -> tuple[Row, ...]:
    """All rules, in their order."""
    return tuple(Row(**row) for row in _read("rules.csv"))


@lru_cache(maxsize=1)
def rules() -> Rules:
    """All rules, to be asked."""
    of: dict[str, dict[str, str]] = {kind: {} for kind in ("resource", "datatype", "element", "extension")}
    for row in rows():
        of[row.kind][row.where] = row.rule
    extensions = {url: frozenset(nested.split()) for url, nested in of["extension"].items()}
    return Rules(of["resource"], of["datatype"], of["element"], extensions)


@lru_cache(maxsize=1)
def code_systems() -> tuple[CodeSystem, ...]:
    """The code systems beside those that R4 itself defines."""
    return tuple(CodeSystem(**row) for row in _read("code_systems.csv"))


@lru_cache(maxsize=1)
def sparse_prefixes() -> tuple[SparsePrefix, ...]:
    """The beginnings of zip codes that become 000."""
    return tuple(SparsePrefix(**row) for row in _read("zips.csv"))


def form(pattern: str) -> re.Pattern[str]:
    """A regular expression of ours, for ASCII alone."""
    return re.compile(pattern, re.ASCII)


def _read(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
