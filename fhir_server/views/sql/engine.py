"""DuckDB, shut in: it reads the files that it is given and nothing else, and changes nothing.

https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from fhir_server.views.sql.statement import BadStatement, NoSuchTable, Statement, told

BATCH = 2_000
"""Rows of an answer that are handed on at a time."""

_LOCKED = (
    "set autoinstall_known_extensions = false",
    "set autoload_known_extensions = false",
    "set allow_community_extensions = false",
    "set python_enable_replacements = false",
    "set enable_external_access = false",
    "set lock_configuration = true",
)


@contextmanager
def answering(
    statement: Statement, tables: Mapping[str, Sequence[Path]], scratch: Path, *, memory: str, threads: int
) -> Iterator[pa.RecordBatchReader]:
    """The rows of a statement over `tables`, names and their Parquet files, as they come.

    `scratch` is a folder for what does not fit into `memory` (as DuckDB writes it: "1GB"). Raises BadStatement, also while rows are read.
    """
    with duckdb.connect(":memory:", config={"threads": threads}) as connection:
        try:
            connection.execute(f"set memory_limit = {_quoted(memory)}").fetchall()
        except duckdb.Error:
            raise BadStatement(f"--memory {memory} is no amount of memory, such as 500MB or 2GB") from None
        connection.execute("set timezone = 'UTC'").fetchall()
        connection.execute(f"set temp_directory = {_quoted(str(scratch))}").fetchall()
        for name, files in tables.items():
            listed = ", ".join(_quoted(str(file)) for file in files)
            connection.execute(f'create view "{name}" as select * from read_parquet([{listed}])').fetchall()
        allowed = ", ".join(_quoted(str(file)) for files in tables.values() for file in files)
        connection.execute(f"set allowed_paths = [{allowed}]").fetchall()
        for locking in _LOCKED:
            connection.execute(locking).fetchall()
        try:
            yield connection.sql(statement.text).to_arrow_reader(BATCH)
        except duckdb.CatalogException as failure:
            text = told(failure)
            raise NoSuchTable(text.partition("!")[0]) if "Table with name" in text else BadStatement(text) from None
        except duckdb.OutOfMemoryException:
            raise BadStatement(
                f"the statement needs more memory than {memory}: give it more with --memory, or ask for less"
            ) from None
        except (duckdb.Error, pa.ArrowException) as failure:
            raise BadStatement(told(failure)) from None


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
