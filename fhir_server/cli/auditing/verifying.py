"""`fhir-server audit verify`."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from joserfc.jwk import OKPKey
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fhir_server.auditing.findings import Finding, Report
from fhir_server.auditing.keys import KeyProblem, public_keys, read_key
from fhir_server.auditing.verify import Verifier, anchors_in
from fhir_server.auditing.verify_archive import manifests, verify_files
from fhir_server.cli.auditing.opening import moment, opened
from fhir_server.cli.options import DataDir
from fhir_server.cli.show import WRONG, err, escaped, fail, out
from fhir_server.config import Settings, load_settings
from fhir_server.data_folder import secret
from smart_auth.sealing import Sealer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Keys = Annotated[
    list[Path] | None, typer.Option("--key", help="A PEM file with a public key that signed checkpoints; may be given again.")
]


def verify(
    since: Annotated[
        str, typer.Option(help="Begin at the newest checkpoint made before this day or instant.", metavar="DATE")
    ] = "",
    key: Keys = None,
    anchors: Annotated[
        Path | None, typer.Option(help="A log of the server: checkpoints that it tells of must be there.", metavar="FILE")
    ] = None,
    archive: Annotated[
        Path | None,
        typer.Option(help="The folder with archives, which are looked at first (FHIR_AUDIT_ARCHIVE).", metavar="FOLDER"),
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Read the whole audit and say what was changed, removed, inserted or moved since it was written.

    Servers go on meanwhile. Checkpoints are believed that a key signed which FHIR_SECRET vouches for, or one given with --key.

    Exit code 0: all is as it was written. 1: something is not, and what. 2: it could not be looked at.
    """
    settings = load_settings({"data_dir": data_dir})
    instant = moment(since, "--since") if since else None
    try:
        report = asyncio.run(_verify(settings, instant, key or [], anchors, archive or settings.audit_archive))
    except KeyProblem as problem:
        fail(str(problem))
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(report), indent=2))
    else:
        _show(report)
    raise typer.Exit(WRONG if report.wrong else 0)


async def _verify(settings: Settings, since: int | None, files: list[Path], log: Path | None, folder: Path | None) -> Report:
    report = Report()
    trusted = [read_key(file) for file in (*files, *([settings.audit_key] if settings.audit_key else []))]
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn())
    async with opened(settings) as store:
        believed, doubtful = await public_keys(store, Sealer(secret(settings)), trusted)
        for name in doubtful:
            text = "it was put there by somebody without FHIR_SECRET, or this is another FHIR_SECRET (then name it with --key)"
            report.add(Finding("key", f"key {name}", text))
        known = _anchors(log, believed, report)
        archives = await manifests(store, believed, report)
        if folder is not None:
            verify_files(folder, archives, report)
        with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
            shown = bar.add_task("verifying", total=None)
            verifier = Verifier(store, believed, known, report)
            told = [manifest for _, manifest in archives]
            await verifier.run(lambda at, end: bar.update(shown, completed=at, total=end), since, told)
    return report


def _anchors(log: Path | None, believed: dict[str, OKPKey], report: Report) -> dict[int, str]:
    if log is None:
        return {}
    try:
        with log.open(errors="replace") as lines:
            return anchors_in(lines, believed, report)
    except OSError as problem:
        fail(f"--anchors: {log} cannot be read: {problem.strerror}")


def _show(report: Report) -> None:
    for each in report.findings:
        place = f", number {each.number} of writer {each.writer}" if each.writer else ""
        out.print(f"[red]{each.kind}:[/] {escaped(each.where)} (position {each.position}{place}): {escaped(each.text)}")
    if report.wrong > len(report.findings):
        out.print(f"… and {report.wrong - len(report.findings):,} more")
    out.print(
        f"{report.linked:,} AuditEvents of {report.writers:,} writers, {report.checkpoints:,} checkpoints up to position"
        f" {report.until:,}; {report.unsigned:,} events are not signed yet"
    )
    if report.elsewhere:
        looked = f"{report.archived:,} were looked at there" if report.archived else "name their folder with --archive"
        out.print(f"{report.elsewhere:,} events are in archives and may be no longer in the store: {looked}")
    if report.before or report.sent:
        out.print(
            f"{report.before:,} events from before there were chains, {report.sent:,} sent by clients: checkpoints alone cover them"
        )
    if report.late:
        more = f" and {report.late - len(report.returned):,} more" if report.late > len(report.returned) else ""
        out.print(
            f"spoilt when they were to be signed, readable again, covered by chains alone: {', '.join(report.returned)}{more}"
        )
    if not report.wrong:
        out.print("everything is as it was written")
