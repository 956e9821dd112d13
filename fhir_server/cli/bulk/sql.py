"""`fhir-server sql`."""

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from fhir_server.cli.auditing.opening import opened
from fhir_server.cli.options import DataDir
from fhir_server.cli.show import err, escaped, fail, out
from fhir_server.config import Settings, load_settings

if TYPE_CHECKING:  # they bring DuckDB and Arrow along, which other commands need not
    from pyarrow import RecordBatchReader

    from fhir_server.views.sql.sources import Listed, Source

T = TypeVar("T")

Format = Literal["table", "csv", "json", "ndjson", "parquet"]

_ENDINGS: Mapping[str, Format] = {".csv": "csv", ".json": "json", ".ndjson": "ndjson", ".parquet": "parquet"}


def sql(
    statement: Annotated[
        str | None, typer.Argument(help="One SELECT, or - for standard input. Without it the tables are listed.", metavar="SQL")
    ] = None,
    view: Annotated[
        list[Path] | None, typer.Option(help="A file with a ViewDefinition, beside those that are stored; may be repeated.")
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(help="Ask the files of an export, a folder or its manifest, instead of the store.", metavar="PATH"),
    ] = None,
    format: Annotated[
        Format | None, typer.Option("--format", help="How rows are written.", show_default="table, or by the ending of --output")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Write the rows to this file, which only you may read; it is whole, or as it was.", metavar="FILE"),
    ] = None,
    memory: Annotated[str, typer.Option(help="Memory that DuckDB may take; what does not fit goes to temporary files.")] = "1GB",
    threads: Annotated[int | None, typer.Option(help="Threads of DuckDB.", min=1, max=256, show_default="one a core")] = None,
    data_dir: DataDir = None,
) -> None:
    """Ask the views of the store in SQL (DuckDB's): the stored ViewDefinitions by their names, and those in files.

    Or the files of an export: its types are tables then, with the columns that its Parquet has. Only what the statement names is read,
    all of one moment. It cannot read other files, nor change anything. A question to the store is recorded in an AuditEvent.

    Exit code 0: done. 2: not done, and why.
    """
    settings = load_settings({"data_dir": data_dir})
    wanted = format or _ENDINGS.get(output.suffix if output else "", "table")
    if wanted == "table" and output is not None:
        fail("--output needs --format csv, json, ndjson or parquet, or a file that ends so")
    if wanted == "parquet" and output is None and sys.stdout.isatty():
        fail("Parquet is nothing to look at: name a file with --output")
    text = sys.stdin.read() if statement == "-" else statement
    from fhir_server.views.sql.statement import BadStatement, Unusable  # brings DuckDB along, which other commands need not
    from resources.outcomes import FhirError

    try:
        with tempfile.TemporaryDirectory(prefix="fhir-sql-") as scratch:
            _run(_Ask(settings, text, tuple(view or ()), export, Path(scratch)), _Answer(wanted, output, memory, threads))
    except (BadStatement, Unusable) as refused:
        fail(str(refused))
    except FhirError as refused:
        fail(f"{refused.issues[0].text} ({refused.issues[0].expression})")
    except BrokenPipeError:  # whoever read the rows has gone
        raise
    except OSError as problem:
        fail(f"{problem.filename or 'a temporary file'} cannot be used: {problem.strerror or problem}")
    except KeyboardInterrupt:
        fail("stopped", 130)


@dataclass(frozen=True, slots=True)
class _Ask:
    """What is asked, of what; `scratch` is a folder that is deleted afterwards."""

    settings: Settings
    text: str | None
    views: tuple[Path, ...]
    export: Path | None
    scratch: Path


@dataclass(frozen=True, slots=True)
class _Answer:
    """How it is answered."""

    format: Format
    output: Path | None
    memory: str
    threads: int | None


def _run(ask: _Ask, answer: _Answer) -> None:
    from fhir_server.views.sql.engine import answering, cores
    from fhir_server.views.sql.statement import NoSuchTable, read_statement

    if ask.text is None:
        _list(*asyncio.run(_with(ask, lambda source: source.listed())))
        return
    statement = read_statement(ask.text)
    tables = asyncio.run(_with(ask, lambda source: source.prepared(statement, ask.scratch)))
    try:
        with answering(statement, tables, ask.scratch, memory=answer.memory, threads=answer.threads or cores()) as rows:
            _show(rows, answer)
    except NoSuchTable as refused:
        listed, _ = asyncio.run(_with(ask, lambda source: source.listed()))
        there = ", ".join(each.name for each in listed) or "none: store a ViewDefinition with a name, or name one with --view"
        fail(f"{refused}. Tables there are: {there}")


async def _with(ask: _Ask, what: "Callable[[Source], Awaitable[T]]") -> "T":
    from fhir_server.audit import Audit
    from fhir_server.views.sql.exports import Export
    from fhir_server.views.sql.sources import FromExport, FromStore
    from fhir_server.views.sql.tables import views_in
    from resources.instants import now

    views = views_in(ask.views)
    if ask.export is not None:
        return await what(FromExport(Export(ask.export), views))
    async with opened(ask.settings, indexed=True) as store:
        bases = ask.settings.bases
        return await what(FromStore(store, Audit(ask.settings.base, bases), now, bases, views))


def _list(tables: "Sequence[Listed]", left: Sequence[str]) -> None:
    for each in tables:
        out.print(f"[bold]{escaped(each.name)}[/] ({escaped(each.origin)}): {escaped(', '.join(each.columns))}")
    if not tables:
        err.print("There are no tables: store a ViewDefinition with a name, or name one with --view FILE.")
    for sentence in left:
        err.print(escaped(sentence))


def _show(rows: "RecordBatchReader", answer: _Answer) -> None:
    from fhir_server.views.sql.results import as_table, private, write
    from resources.outcomes import counted

    if answer.format == "table":
        table, count, more = as_table(rows)
        out.print(table)
        err.print(f"The first {count:,} rows; --format csv has them all." if more else counted(count, "row"))
    elif answer.output is None:
        write(rows, answer.format, sys.stdout.buffer)
    else:
        with private(answer.output) as file:
            count = write(rows, answer.format, file)
        err.print(f"{counted(count, 'row')} in {escaped(str(answer.output))}")
