"""A SQL statement as DuckDB reads it: one that only asks, and the tables that it names."""

import json
from dataclasses import dataclass
from typing import Any

import duckdb

LONGEST = 100_000
"""Characters of a statement."""


class BadStatement(Exception):
    """A statement that cannot be run; the text says why."""


class NoSuchTable(BadStatement):
    """A statement that names a table which is not there."""


class Unusable(Exception):
    """A file, view or export that cannot be used; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One SELECT. `tables` are the names that stand where tables stand, in lower case: those of WITH are among them."""

    text: str
    tables: frozenset[str]


def read_statement(text: str) -> Statement:
    """The statement. Raises BadStatement for what is none, for several, and for one that does anything but ask.

    DuckDB's own tree of a statement (https://duckdb.org/docs/stable/data/json/sql_to_and_from_json) says which tables it names. Its
    `get_table_names` would look for columns in tables that are not there yet, and refuse a JOIN … USING.
    """
    if len(text) > LONGEST:
        raise BadStatement(f"the statement is longer than {LONGEST:,} characters")
    with duckdb.connect(":memory:") as reader:
        try:
            found = reader.extract_statements(text)
        except duckdb.Error as failure:
            raise BadStatement(told(failure)) from None
        if len(found) != 1:
            raise BadStatement(f"one statement is needed, and these are {len(found)}")
        if found[0].type != duckdb.StatementType.SELECT:
            offered = "SELECT, WITH, FROM, VALUES, DESCRIBE, SUMMARIZE, and PIVOT with its values listed: ON … IN (…)"
            raise BadStatement(f"only statements that ask are run: {offered}")
        [[tree]] = reader.execute("select json_serialize_sql(?::varchar)", [found[0].query]).fetchall()
    parsed = json.loads(tree)
    if parsed.get("error"):
        raise BadStatement(str(parsed.get("error_message")))
    return Statement(found[0].query, frozenset(_tables(parsed)))


def _tables(tree: Any) -> set[str]:
    names: set[str] = set()
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if one.get("type") == "BASE_TABLE":
                names.add(str(one.get("table_name", "")).lower())
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return names


def told(failure: Exception) -> str:
    """What DuckDB says of a failure, in one paragraph and without the names of its own classes."""
    text = str(failure).partition("\n\nLINE")[0]
    return " ".join(text.split()).removeprefix("Catalog Error: ").removeprefix("Binder Error: ").removeprefix("Parser Error: ")
