"""`fhir-server keys`: the keys that sign id_tokens."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer

from fhir_server.cli.options import DataDir
from fhir_server.cli.show import escaped, out
from fhir_server.config import load_settings
from resources.instants import instant_text
from smart_auth.keys import ALGORITHMS, Algorithm, StoredKey, rotate, stored_keys
from smart_auth.service import Service

BY = "fhir-server keys"

keys = typer.Typer(help="Show and rotate the keys that sign id_tokens.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@keys.command("list")
def list_keys(as_json: Json = False, data_dir: DataDir = None) -> None:
    """Show the keys: those in use, and those that are only told until their last token has expired."""
    found = _run(stored_keys, data_dir)
    if as_json:
        typer.echo(msgspec.json.encode([_shown(algorithm, key) for algorithm, key in found]).decode())
        return
    if not found:
        out.print("no keys yet: they are made when they are first needed")
    for algorithm, key in found:
        state = f"told until {instant_text(key.until)}" if key.until else "in use"
        out.print(escaped(f"{algorithm}  {key.kid}  made {instant_text(key.made)}, {state}"))


@keys.command("rotate")
def rotate_keys(
    algorithm: Annotated[
        Algorithm | None, typer.Option(help="Which one; all that have a key (RS256 at least) where it is not given.")
    ] = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Sign with new keys from now on. The old ones are told until their last token has expired.

    Also what to do after FHIR_SECRET was changed: the old private keys cannot be opened any more then.
    """

    async def work(service: Service) -> list[tuple[Algorithm, StoredKey]]:
        kept = {name for name, _ in await stored_keys(service)} | {"RS256"}
        wanted = [algorithm] if algorithm is not None else [name for name in ALGORITHMS if name in kept]
        return [(name, await rotate(service, name, BY)) for name in wanted]

    made = _run(work, data_dir)
    if as_json:
        typer.echo(msgspec.json.encode([_shown(name, key) for name, key in made]).decode())
        return
    for name, key in made:
        out.print(escaped(f"{name}  {key.kid}  in use from now on"))


Result = TypeVar("Result")


def _run(work: Callable[[Service], Awaitable[Result]], data_dir: Path | None) -> Result:
    async def run() -> Result:
        from fhir_server.app import open_service

        async with open_service(load_settings({"data_dir": data_dir})) as service:
            return await work(service)

    return asyncio.run(run())


def _shown(algorithm: Algorithm, key: StoredKey) -> dict[str, object]:
    until = instant_text(key.until) if key.until else None
    return {"algorithm": algorithm, "kid": key.kid, "made": instant_text(key.made), "toldUntil": until}
