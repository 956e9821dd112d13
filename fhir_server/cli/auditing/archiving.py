"""`fhir-server audit archive`."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.progress import BarColumn, Progress, TextColumn

from fhir_server.auditing.archive import ArchiveProblem, Archiver, Manifest
from fhir_server.auditing.keys import KeyProblem, public_keys, read_key, signing_key
from fhir_server.auditing.statements import BadSignature
from fhir_server.auditing.staying import staying
from fhir_server.cli.auditing.opening import moment, opened
from fhir_server.cli.options import DataDir
from fhir_server.cli.show import err, escaped, fail, out
from fhir_server.config import Settings, load_settings
from fhir_server.data_folder import secret
from resources.instants import now
from resources.stores.sqlite import SqliteStore
from smart_auth.sealing import Sealer


def archive(
    before: Annotated[str, typer.Option(help="What was signed before this day or instant.", metavar="DATE")],
    to: Annotated[Path | None, typer.Option(help="The folder for archives (FHIR_AUDIT_ARCHIVE).", metavar="FOLDER")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Copy only: remove nothing from the store.")] = False,
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write AuditEvents into files with signed manifests, then remove them from the store.

    Removed is only what stands in a file that was synced, read back and compared. Interrupted, the same command goes on. Servers may be
    running meanwhile. `fhir-server audit verify --archive FOLDER` reads archives and store together.

    Exit code 0: done. 2: not done, and why; nothing is lost.
    """
    settings = load_settings({"data_dir": data_dir})
    folder = to or settings.audit_archive
    if folder is None:
        fail("say where to with --to FOLDER, or with FHIR_AUDIT_ARCHIVE")
    try:
        made, removed, stays = asyncio.run(_archive(settings, moment(before, "--before"), folder, keep))
    except (KeyProblem, ArchiveProblem, BadSignature) as problem:
        fail(str(problem))
    if as_json:
        typer.echo(json.dumps({"archives": msgspec.to_builtins(made), "removed": removed, "stays": stays}, indent=2))
        return
    for each in made:
        out.print(f"{escaped(str(folder / each.file))}: {each.count:,} AuditEvents")
        for first, last in each.late:
            out.print(f"  among them, spoilt when they were to be signed: event-{first} to event-{last}")
    out.print(f"{sum(each.count for each in made):,} AuditEvents archived, {removed:,} removed from the store")
    if stays:
        out.print(escaped(f"What stays in the store: {'; '.join(stays)}"))
    if removed and settings.elastic:
        out.print("`fhir-server verify-index AuditEvent` removes them from Elasticsearch too; searches leave them out already")


async def _archive(settings: Settings, before: int, folder: Path, keep: bool) -> tuple[list[Manifest], int, list[str]]:
    sealer = Sealer(secret(settings))
    trusted = [read_key(settings.audit_key)] if settings.audit_key else []
    async with opened(settings, indexed=True) as store:
        key = await signing_key(store, sealer, settings.audit_key)
        believed, _ = await public_keys(store, sealer, trusted)
        archiver = Archiver(store, folder, key, believed, now)
        columns = (TextColumn("{task.description}"), BarColumn())
        with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
            shown = bar.add_task("archiving", total=None)
            made = await archiver.run(before, lambda at, end: bar.update(shown, completed=at, total=end))
            removed = 0
            if not keep:
                if isinstance(store, SqliteStore):
                    await store.settle()
                removed = await archiver.remove(before, lambda at, end: bar.update(shown, description="removing"))
        return made, removed, await staying(store, believed, before, removed=not keep)
