"""What both kinds of imports have in common: the folder, what is shown meanwhile, and the summary."""

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import cast

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from typer import Exit, echo

from fhir_server.cli.show import WRONG, err, escaped, fail, out
from fhir_server.config import Settings
from fhir_server.data_folder import prepare
from fhir_server.migrating.contract import Source, Stopped
from fhir_server.migrating.folder import FOLDER, forget, leftovers, working_folder
from fhir_server.migrating.report import Summary

AGAIN = "the same command goes on where this one was"
_COLUMNS = ("source", "received", "written", "unchanged", "repeated", "failed", "verified", "different")


def carry_out(
    settings: Settings,
    identity: tuple[str, ...],
    make: Callable[[Path], Source],
    *,
    dry_run: bool,
    anew: bool,
    report: Path,
    as_json: bool,
) -> None:
    """Migrate from the source that `make` makes of a folder, show what came of it, and exit."""
    try:
        if not os.access(report.absolute().parent, os.W_OK):
            fail(f"--report: {report.absolute().parent} is no folder that can be written to")
        if not dry_run:
            prepare(settings)
        with working_folder(settings.data_dir, *identity, settings.documents, dry_run=dry_run, anew=anew) as folder:
            if left := [each for each in leftovers(settings.data_dir) if each != folder]:
                err.print(
                    f"[yellow]unfinished:[/] another import lies in {escaped(str(left[0]))}; remove it, if it is not gone on with"
                )
            source = make(folder)
            summary = _with_progress(settings, source, folder, report, dry_run=dry_run)
            source.finish()
            if not dry_run:
                forget(folder)
    except Stopped as stopped:
        fail(str(stopped))
    except sqlite3.Error as failure:
        fail(f"how far it has come cannot be kept in {settings.data_dir / FOLDER}: {failure}; {AGAIN}")
    except OSError as failure:
        fail(f"{failure.filename or 'the folder'} cannot be used: {failure.strerror}")
    except KeyboardInterrupt:
        fail(f"stopped; {AGAIN}" if not dry_run else "stopped; nothing was written", 130)
    _show(summary, as_json=as_json)
    raise Exit(WRONG if summary["errors"] else 0)


def _with_progress(settings: Settings, source: Source, folder: Path, report: Path, *, dry_run: bool) -> Summary:
    from fhir_server.migrating.run import migrate  # brings the store and the definitions of FHIR along

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,}"), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
        shown = bar.add_task("starting", total=None)

        def watch(what: str, done: int, total: int | None) -> None:
            bar.update(shown, description=escaped(what), completed=done, total=total)

        return migrate(settings, source, folder, report, dry_run=dry_run, progress=watch)


def _show(summary: Summary, *, as_json: bool) -> None:
    if as_json:
        echo(json.dumps(summary, indent=2))
        return
    for line in _table(summary):
        out.print(escaped(line))
    for text in summary["first"]:
        err.print(f"[red]problem:[/] {escaped(text)}")
    if summary["problems"] > len(summary["first"]):
        err.print(f"[red]and {summary['problems'] - len(summary['first']):,} more[/]: {escaped(summary['report'])} has all")
    done = sum(row["written"] for row in summary["types"].values())
    same = sum(row["verified"] for row in summary["types"].values())
    if summary["dangling"]:
        out.print(f"{summary['dangling']:,} resources are referred to, and are not here")
    if summary["dry_run"]:
        out.print(f"dry run, nothing was written: {done:,} resources would be; {summary['problems']:,} problems")
        return
    out.print(
        f"{done:,} resources written, {summary['deleted']:,} deleted; {same:,} compared with what came and the same;"
        f" {summary['problems']:,} problems; {summary['seconds']:.1f} s"
    )


def _table(summary: Summary) -> list[str]:
    """A line a type, of the types of which there is something."""
    width = max((len(type) for type in summary["types"]), default=4)
    lines = [f"{'type':<{width}} " + " ".join(f"{name:>9}" for name in _COLUMNS)]
    for type, row in summary["types"].items():
        numbers = cast("dict[str, int | None]", row)
        lines.append(
            f"{type:<{width}} " + " ".join(f"{'' if n is None else f'{n:,}':>9}" for n in (numbers[name] for name in _COLUMNS))
        )
    return lines
