"""`fhir-server reindex`."""

import asyncio
import json
from collections import Counter
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fhir_server.cli.of_index import fed
from fhir_server.cli.options import DataDir
from fhir_server.cli.show import WRONG, err, fail, out
from fhir_server.config import Settings, load_settings


def reindex(
    types: Annotated[list[str] | None, typer.Argument(help="Resource types; all if none is named.", metavar="[TYPE]...")] = None,
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Build the search index anew.

    In Elasticsearch beside the live one, which it then replaces: servers go on meanwhile, searches too, and a run that was interrupted
    goes on where it was. The embedded index is built in its place, always of all types: stop the server first; a run that is
    interrupted leaves it whole.

    Exit code 0: done. 1: done, but some documents were set aside (`fhir-server verify-index` lists them). 2: not done.
    """
    settings = load_settings({"data_dir": data_dir})
    try:
        done, aside = asyncio.run(_run(settings, types or [])) if settings.elastic else (_embedded(settings, types or []), 0)
    except KeyboardInterrupt:
        fail(
            "stopped; the same command goes on where this one was"
            if settings.elastic
            else "stopped; the index is whole all the same",
            130,
        )
    if as_json:
        typer.echo(json.dumps({"documents": done, "set_aside": aside}))
    else:
        out.print(f"{sum(done.values()):,} documents of {len(done)} types indexed anew; {aside} set aside")
    raise typer.Exit(WRONG if aside else 0)


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,} documents"), TimeElapsedColumn())
    return Progress(*columns, console=err, disable=not err.is_terminal, transient=True)


def _embedded(settings: Settings, named: list[str]) -> dict[str, int]:
    """Build the whole embedded index anew; how many documents of each type. Raises StoreUnavailable."""
    from fhir_server.app import rebuild_embedded

    if settings.in_memory or not settings.database.exists():
        fail(f"there is nothing to index: the database {settings.database} does not exist")
    if named:
        err.print("the embedded index is one for all types: all are indexed anew")
    done: Counter[str] = Counter()
    with _bar() as bar:
        task = bar.add_task("reindex", total=None)

        def watch(type: str, count: int) -> None:
            done[type] += count
            bar.update(task, advance=count, description=type)

        rebuild_embedded(settings, lambda total: bar.update(task, total=total), watch)
    return dict(sorted(done.items()))


async def _run(settings: Settings, named: list[str]) -> tuple[dict[str, int], int]:
    async with fed(settings, named) as (feed, types):
        done = dict.fromkeys(types, 0)
        with _bar() as bar:
            task = bar.add_task("reindex", total=None)

            def watch(type: str, count: int) -> None:
                done[type] += count
                bar.update(task, advance=count, description=type)

            aside = await feed.rebuild().run(types, watch=watch)
        if not named:
            await feed.bases.remember(anew=True)
        return done, aside
