"""`fhir-server import csv`."""

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from fhir_server.cli.importing.carrying_out import carry_out
from fhir_server.cli.importing.server import REPORT
from fhir_server.cli.options import DataDir
from fhir_server.cli.show import REFUSED, err, escaped, fail
from fhir_server.config import load_settings
from fhir_server.migrating.contract import Stopped


def import_csv(
    mapping: Annotated[Path, typer.Argument(help="The mapping, YAML or JSON.", metavar="MAPPING")],
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where the CSV files are.", show_default="the mapping's folder")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and check everything, write nothing.")] = False,
    anew: Annotated[bool, typer.Option("--anew", help="Forget how far an interrupted import has come.")] = False,
    report: Annotated[Path, typer.Option(help="File for what was wrong, as OperationOutcomes.")] = REPORT,
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Import CSV files by a mapping that says which column goes where (docs/migration.md).

    Ids are the same each time; what is there as it is stays, so a second run changes nothing; an interrupted one goes on. Everything
    is validated, and what is wrong is told by file, row, column and FHIRPath.

    Exit code 0: all is here. 1: some is not, and the report says what. 2: not carried out.
    """
    from conformance.load import definitions
    from fhir_server.migrating.tables.mapping import read_mapping
    from fhir_server.migrating.tables.marked import BadMapping
    from fhir_server.migrating.tables.source import TableSource

    settings = load_settings({"data_dir": data_dir})
    try:
        source = TableSource(read_mapping(mapping, definitions()), folder or mapping.absolute().parent, int(settings.max_body))
        identity = ("csv", hashlib.sha256(mapping.read_bytes()).hexdigest(), source.identity())
    except BadMapping as bad:
        for problem in bad.problems:
            err.print(f"[red]mapping:[/] {escaped(problem)}")
        raise typer.Exit(REFUSED) from None
    except Stopped as stopped:
        fail(str(stopped))
    carry_out(settings, identity, lambda _folder: source, dry_run=dry_run, anew=anew, report=report, as_json=as_json)
