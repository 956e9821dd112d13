"""CSV files and a mapping as the source of a migration: row after row made into resources."""

import hashlib
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from conformance.load import fhirpath
from fhir_server.migrating.contract import Chunk, Item, Place, Problem, Progress, Wrong
from fhir_server.migrating.tables.building import build
from fhir_server.migrating.tables.mapping import MOST_RESOURCES, FileRule, Mapped, ResourceRule
from fhir_server.migrating.tables.marked import BadMapping
from fhir_server.migrating.tables.rows import Read, header_of, rows
from fhir_server.migrating.tables.values import Row
from resources import documents

MOST, ENOUGH = 200, 1_000_000
"""Resources, and bytes of them, at which a chunk is closed, behind the row that makes the last one."""


class Table(NamedTuple):
    """A file and what its rows make."""

    path: Path
    rule: FileRule


class TableSource:
    """The files in `folder` that a mapping names. `longest`: bytes of a cell, at most."""

    strict = True

    def __init__(self, mapped: Mapped, folder: Path, longest: int) -> None:
        self._mapped, self._folder, self._longest = mapped, folder, longest
        self.tables = _found(mapped, folder)

    def identity(self) -> str:
        """A hash of all files. Raises OSError."""
        found = hashlib.sha256()
        for table in self.tables:
            with table.path.open("rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
        return found.hexdigest()

    def prepare(self, progress: Progress) -> None:
        """Nothing has to be fetched."""
        progress("reading", 0, None)

    def counts(self) -> Mapping[str, int]:
        """A table does not say how many resources are in it."""
        return {}

    def problems(self) -> list[Wrong]:
        """What is wrong is wrong with rows."""
        return []

    def chunks(self, after: Place) -> Iterator[Chunk]:
        """The files in the order of the mapping, each row by row."""
        for part, table in enumerate(self.tables):
            if part >= after.part:
                yield from self._of_table(part, table, after.number if part == after.part else 0)

    def deleted(self) -> Iterator[tuple[str, str]]:
        """A table tells of nothing that was deleted."""
        return iter(())

    def finish(self) -> None:
        """The files stay as they are."""

    def _of_table(self, part: int, table: Table, after: int) -> Iterator[Chunk]:
        items, wrong, size, number = list[Item](), list[Wrong](), 0, after
        for read in rows(table.path, table.rule, self._longest, after):
            number = read.number
            for made in self._made(table, read):
                if isinstance(made, Item):
                    items.append(made)
                    size += len(made.body)
                else:
                    wrong.append(made)
            if len(items) + len(wrong) >= MOST or size >= ENOUGH:
                yield Chunk(items, wrong, Place(part, number))
                items, wrong, size = [], [], 0
        if items or wrong:
            yield Chunk(items, wrong, Place(part, number))

    def _made(self, table: Table, read: Read) -> Iterator[Item | Wrong]:
        where = f"{table.path.name} row {read.number}"
        if read.row is None:
            yield Wrong("", where, (Problem("structure", read.problem),))
            return
        for index, rule in enumerate(table.rule.resources):
            if rule.wanted(read.row):
                yield self._resource(rule, read.row, where, read.number * MOST_RESOURCES + index)

    def _resource(self, rule: ResourceRule, row: Row, where: str, number: int) -> Item | Wrong:
        problems = list[Problem]()
        id = self._id(rule, row, problems)
        value = build(rule.tree, row, problems).value
        if problems:
            return Wrong(rule.type, where, tuple(problems))
        body = documents.encode({"resourceType": rule.type, "id": id, **value})
        return Item(rule.type, id, body, number, where, lambda expression: _columns(rule, expression))

    def _id(self, rule: ResourceRule, row: Row, problems: list[Problem]) -> str:
        """The id of the resource; "" where there is none, and the problems say so."""
        named = f", column{'s' if len(rule.id_columns) > 1 else ''} {', '.join(rule.id_columns)}"
        if missing := [column for column in rule.id_columns if not row[column]]:
            problems.append(Problem("required", f"The row has nothing to make an id of, column {missing[0]}", f"{rule.type}.id"))
            return ""
        text = rule.id_text(row)
        try:
            return self._mapped.ids.make(rule.type, text)
        except ValueError as problem:
            problems.append(Problem("value", f"{text[:100]!r} {problem}{named}", f"{rule.type}.id"))
            return ""


def _found(mapped: Mapped, folder: Path) -> list[Table]:
    """The files, all there and with the columns that the mapping names. Raises BadMapping, Stopped."""
    problems, tables = mapped.problems, list[Table]()
    for rule in mapped.files:
        paths = sorted(path for path in folder.glob(rule.pattern) if path.is_file())
        if not paths:
            problems.add(rule.node, f"no file {rule.pattern} is in {folder}")
        for path in paths:
            tables.append(Table(path, rule))
            names = header_of(path, rule)
            if twice := {name for name in names if names.count(name) > 1}:
                problems.add(rule.node, f"{path.name} has the column {min(twice)!r} twice")
            used = chain.from_iterable(each.used.items() for each in rule.resources)
            for column, node in {column: node for column, node in used if column not in names}.items():
                problems.add(node, f"{path.name} has no column {column!r}; it has {', '.join(names)[:500]}")
    if problems.found:
        raise BadMapping(problems.found)
    return tables


def _columns(rule: ResourceRule, expression: str | None) -> str:
    """From which columns what is at a FHIRPath was made."""
    if not expression:
        return ""
    place = ".".join(part.partition("[")[0] for part in fhirpath(expression).split("."))
    exact = rule.columns.get(place, ())
    found = exact or tuple(
        column
        for path, columns in rule.columns.items()
        if path.startswith(f"{place}.") or place.startswith(f"{path}.")
        for column in columns
    )
    if place in (rule.type, ""):
        return ""
    names = list(dict.fromkeys(found))
    return f", column{'s' if len(names) > 1 else ''} {', '.join(names)}" if names else ""
