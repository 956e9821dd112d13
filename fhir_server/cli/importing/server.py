"""`fhir-server import server`."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from fhir_server.cli.importing.carrying_out import carry_out
from fhir_server.cli.options import DataDir
from fhir_server.cli.show import err, escaped, fail
from fhir_server.config import load_settings
from fhir_server.migrating.contract import Source, Stopped
from fhir_server.migrating.remote.asked import Asked, Way
from resources.ids import valid_id

SCOPES = "system/*.rs"
REPORT = Path("import-report.ndjson")


def import_server(
    url: Annotated[str, typer.Argument(help="Base URL of the FHIR server.", metavar="URL")],
    by: Annotated[
        Way, typer.Option(help="`export`: by its $export. `pages`: by searching. `auto`: by $export where it has one.")
    ] = "auto",
    types: Annotated[list[str] | None, typer.Option("--type", help="Only this type; may be repeated.", metavar="TYPE")] = None,
    since: Annotated[
        str, typer.Option(help="Only what was written since this instant; by export also what was deleted.", metavar="INSTANT")
    ] = "",
    level: Annotated[str, typer.Option(help="By export: the records of `Patient`s, or of `Group/[id]`.")] = "",
    count: Annotated[int, typer.Option(help="By pages: resources a page.", min=1, max=10_000)] = 200,
    relative: Annotated[
        bool, typer.Option("--relative", help="Make references to URL, or to a base of --old-base, relative.")
    ] = False,
    old_base: Annotated[
        list[str] | None, typer.Option(help="With --relative: another base URL of that server; may be repeated.")
    ] = None,
    token_file: Annotated[Path | None, typer.Option(help="File with a bearer token (or FHIR_FROM_TOKEN).")] = None,
    user: Annotated[str, typer.Option(help="User's name for Basic (or FHIR_FROM_USER).")] = "",
    password_file: Annotated[Path | None, typer.Option(help="File with the password (or FHIR_FROM_PASSWORD).")] = None,
    client: Annotated[str, typer.Option(help="Client id of a SMART backend service.")] = "",
    key_file: Annotated[Path | None, typer.Option(help="The service's private key: JWK, JWK Set or PEM.")] = None,
    scope: Annotated[str, typer.Option(help="Scopes that the service asks for.")] = SCOPES,
    token_url: Annotated[str, typer.Option(help="Token endpoint, where the server does not say.")] = "",
    files_from: Annotated[
        list[str] | None, typer.Option(help="Another origin that files of an export may lie at; may be repeated.", metavar="ORIGIN")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow http:// to another machine.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Fetch and check everything, write nothing.")] = False,
    anew: Annotated[bool, typer.Option("--anew", help="Forget what an interrupted import has fetched.")] = False,
    report: Annotated[Path, typer.Option(help="File for what was wrong, as OperationOutcomes.")] = REPORT,
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Import all of another FHIR server, by its own bulk export or page by page.

    Ids stay; what is there as it is stays, so a second run changes nothing; an interrupted one goes on. Everything is validated, and
    afterwards compared with what came by its hash.

    Exit code 0: all is here. 1: some is not, and the report says what. 2: not carried out.
    """
    from conformance.load import definitions
    from fhir_server.migrating.remote.connection import Connection
    from fhir_server.migrating.remote.credentials import credentials
    from fhir_server.migrating.remote.source import RemoteSource
    from fhir_server.migrating.rewriting import rewriter
    from fhir_server.permission import APPEND_ONLY

    settings = load_settings({"data_dir": data_dir})
    known = frozenset(definitions().resource_types) - APPEND_ONLY
    if wrong := [type for type in types or () if type not in known]:
        fail(f"--type {wrong[0]} is not a resource type of FHIR R4 that can be imported")
    if since and (problem := _wrong_instant(since)):
        fail(f"--since {problem}")
    level = level.strip("/")
    if level not in ("", "Patient") and not (level.startswith("Group/") and valid_id(level.removeprefix("Group/"))):
        fail(f"--level {level} is neither Patient nor Group/[id]")
    asked = Asked(tuple(types or ()), since, level, count, int(settings.import_max_size), int(settings.max_body))
    bases = tuple(old_base or ())
    try:
        signed = credentials(
            token_file=token_file,
            user=user,
            password_file=password_file,
            client=client,
            key_file=key_file,
            scopes=scope,
            token_url=token_url,
        )
        connection = Connection(url, signed, origins=tuple(files_from or ()), insecure=insecure, say=_say)
    except Stopped as stopped:
        fail(str(stopped))
    rewrite = rewriter((connection.base, *bases), known) if relative else None

    def make(folder: Path) -> Source:
        return RemoteSource(connection, asked, known, by, folder, rewrite)

    identity = ("server", connection.base, by, repr(asked), repr((relative, bases)))
    carry_out(settings, identity, make, dry_run=dry_run, anew=anew, report=report, as_json=as_json)


def _say(text: str) -> None:
    err.print(f"[yellow]waiting:[/] {escaped(text)}")


def _wrong_instant(text: str) -> str | None:
    """Why it is no instant; None if it is one (https://hl7.org/fhir/R4/datatypes.html#instant)."""
    try:
        zone = datetime.fromisoformat(text).tzinfo
    except ValueError:
        zone = None
    return None if zone else f"{text} is no instant such as 2026-01-31T00:00:00Z"
