"""`fhir-server deidentify`."""

import json
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from fhir_server.cli.options import DataDir
from fhir_server.cli.show import WRONG, err, escaped, fail, out
from fhir_server.config import load_settings
from fhir_server.deidentifying.dates import Dates
from fhir_server.deidentifying.files import Files, Totals, Unusable
from fhir_server.deidentifying.secret import BadSecret, secret_in

SHOWN = 20
"""Most failures that are listed; --json has more."""


def deidentify(
    paths: Annotated[list[str], typer.Argument(help="NDJSON files, packed (.gz) or not, or - for standard input.", metavar="PATH")],
    folder: Annotated[Path, typer.Option("--out", help="An empty folder for the de-identified files, one a type.", metavar="DIR")],
    secret_file: Annotated[
        Path | None,
        typer.Option(
            help="The secret that pseudonyms and shifts are made with; made if absent. Keep it from whoever gets the files.",
            show_default="deidentifying-secret in the data folder",
            metavar="FILE",
        ),
    ] = None,
    project: Annotated[str, typer.Option(help="Another name gives other pseudonyms and shifts of the same secret.")] = "",
    dates: Annotated[
        Dates, typer.Option(help="`shift`: by days that are the patient's own. `year`: only the year, as Safe Harbor has it.")
    ] = "shift",
    as_of: Annotated[
        datetime | None,
        typer.Option(help="The day by which people are 90 or older.", formats=["%Y-%m-%d"], show_default="today"),
    ] = None,
    displays: Annotated[bool, typer.Option("--displays", help="Keep the displays of codes: text that nobody has checked.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """De-identify FHIR documents by the rules of docs/bulk.md: what is not known to be harmless goes.

    The same secret and project give the same pseudonyms, so that files made one after the other can be joined. Lines that are no valid
    resource are told with their numbers and come to nothing.

    Exit code 0: all done. 1: some lines came to nothing. 2: nothing was written.
    """
    settings = load_settings({"data_dir": data_dir})
    path = secret_file or settings.data_dir / "deidentifying-secret"
    if path.absolute().is_relative_to(folder.absolute()):
        fail(f"the secret {path} would lie among the de-identified files: name another place with --secret-file")
    try:
        if secret_file is None:
            settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        secret = secret_in(path)
        started = time.monotonic()
        totals = _run(paths, folder, secret, project, dates, as_of, displays, settings.bases)
    except (BadSecret, Unusable) as error:
        fail(str(error))
    except OSError as error:
        fail(f"the data folder {settings.data_dir} cannot be used: {error.strerror}")
    except KeyboardInterrupt:
        fail("stopped; no file was written", 130)
    _report(totals, time.monotonic() - started, as_json=as_json)
    raise typer.Exit(WRONG if totals.failed else 0)


def _run(
    paths: list[str],
    folder: Path,
    secret: bytes,
    project: str,
    dates: Dates,
    as_of: datetime | None,
    displays: bool,
    bases: tuple[str, ...],
) -> Totals:
    from conformance.load import definitions  # brings the definitions of FHIR along
    from fhir_server.deidentifying.deidentifier import Deidentifier
    from search.extract import Extractor
    from search.parameters import registry

    today = as_of.date() if as_of else None
    deidentifier = Deidentifier(definitions(), secret, project=project, dates=dates, today=today, displays=displays, bases=bases)
    return Files(deidentifier, Extractor(registry(), bases), folder).run(paths)


def _report(totals: Totals, seconds: float, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**asdict(totals), "seconds": round(seconds, 3)}, indent=2))
        return
    for failed in totals.failures[:SHOWN]:
        err.print(f"[red]failed:[/] {escaped(f'{failed.source} line {failed.line}: {failed.text}')}")
    if totals.failed > SHOWN:
        err.print(f"[red]and {totals.failed - SHOWN:,} more failures[/]: --json lists more")
    for type, count in sorted(totals.left_out.items()):
        out.print(f"{type}: {count:,} left out")
    done = sum(totals.written.values())
    out.print(f"{done:,} documents of {len(totals.written)} types, {seconds:.1f} s; {totals.failed:,} lines failed")
