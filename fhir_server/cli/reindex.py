"""`fhir-server reindex`."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fhir_server.cli.of_index import fed
from fhir_server.cli.show import WRONG, err, fail, out
from fhir_server.config import Settings, load_settings


def reindex(
    types: Annotated[list[str] | None, typer.Argument(help="Resource types; all if none is named.", metavar="[TYPE]...")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for all data (FHIR_DATA_DIR).", show_default="./data")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Build the search index in Elasticsearch anew, beside the live one, and put it in its place.

    Servers go on meanwhile, searches too. A run that was interrupted goes on where it was.

    Exit code 0: done. 1: done, but some documents were set aside (`fhir-server verify-index` lists them). 2: not done.
    """
    settings = load_settings({"data_dir": data_dir})
    if not settings.elastic:
        fail("FHIR_SEARCH_URL names no Elasticsearch: the embedded index is rebuilt by itself where that is needed")
    try:
        done, aside = asyncio.run(_run(settings, types or []))
    except KeyboardInterrupt:
        fail("stopped; the same command goes on where this one was", 130)
    if as_json:
        typer.echo(json.dumps({"documents": done, "set_aside": aside}))
    else:
        out.print(f"{sum(done.values()):,} documents of {len(done)} types indexed anew; {aside} set aside")
    raise typer.Exit(WRONG if aside else 0)


async def _run(settings: Settings, named: list[str]) -> tuple[dict[str, int], int]:
    async with fed(settings, named) as (feed, types):
        done = dict.fromkeys(types, 0)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,} documents"), TimeElapsedColumn())
        with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
            task = bar.add_task("reindex", total=None)

            def watch(type: str, count: int) -> None:
                done[type] += count
                bar.update(task, advance=count, description=type)

            aside = await feed.rebuild().run(types, watch=watch)
        return done, aside
