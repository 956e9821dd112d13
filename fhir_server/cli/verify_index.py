"""`fhir-server verify-index`."""

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from fhir_server.cli.of_index import PATIENCE, fed
from fhir_server.cli.options import DataDir
from fhir_server.cli.show import WRONG, fail, out
from fhir_server.config import Settings, load_settings

if TYPE_CHECKING:  # both bring Elasticsearch's client along, which other commands need not
    from fhir_server.indexing.verify import Drift
    from search.indexes.elastic.asides import Aside


def verify_index(
    types: Annotated[list[str] | None, typer.Argument(help="Resource types; all if none is named.", metavar="[TYPE]...")] = None,
    repair: Annotated[bool, typer.Option(help="Write what is missing or differs, delete what is too much.")] = True,
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Compare the store with the search index in Elasticsearch, document by document, and repair what differs.

    Servers go on meanwhile. Lists what could not be indexed, with the reason.

    Exit code 0: they agree now. 1: they do not. 2: they could not be compared.
    """
    settings = load_settings({"data_dir": data_dir})
    if not settings.elastic:
        fail("FHIR_SEARCH_URL names no Elasticsearch: the embedded index is part of every commit and needs no comparison")
    found, asides = asyncio.run(_run(settings, types or [], repair))
    wrong = bool(asides) or any(not drift.agrees for drift in found)
    if as_json:
        typer.echo(json.dumps({"types": [asdict(drift) for drift in found], "set_aside": [a._asdict() for a in asides]}))
    else:
        _show(found, asides)
    raise typer.Exit(WRONG if wrong else 0)


def _show(found: "list[Drift]", asides: "list[Aside]") -> None:
    table = Table("type", "documents", "missing", "surplus", "repaired", "refused")
    for drift in found:
        numbers = (drift.documents, drift.missing, drift.surplus, drift.repaired, drift.refused)
        table.add_row(drift.type, *(f"{number:,}" for number in numbers))
    out.print(table)
    for aside in asides:
        out.print(f"not indexed: {aside.type}/{aside.id} (position {aside.position}): {aside.reason}")


async def _run(settings: Settings, named: list[str], repair: bool) -> "tuple[list[Drift], list[Aside]]":
    async with fed(settings, named) as (feed, types):
        if repair:  # what still cannot be indexed is noted anew
            for aside in await feed.asides.all():
                if aside.type in types:
                    await feed.asides.remove(aside.type, aside.id)
        found = [await feed.comparison(type, await feed.ready(PATIENCE), repair=repair).run() for type in types]
        return found, await feed.asides.all()
