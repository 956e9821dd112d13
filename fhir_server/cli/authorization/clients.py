"""`fhir-server client add`, `list`, `show`, `rotate`, `disable`, `enable`, `remove`."""

import asyncio
import json
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import typer

from fhir_server.cli.authorization.adding import Asked, new_client, with_keys
from fhir_server.cli.options import DataDir
from fhir_server.cli.show import fail
from fhir_server.config import Settings, load_settings
from resources.store import Conflict, RecordChange
from smart_auth.app_state.endpoints import forget_state
from smart_auth.clients import KIND, Client, Stored, all_clients, kept, rotated, stored_client, told
from smart_auth.registration.ending import end_tokens
from smart_auth.service import Service

client = typer.Typer(
    name="client", help="Apps and services that may ask for access tokens.", no_args_is_help=True, rich_markup_mode="markdown"
)

Id = Annotated[str, typer.Argument(help="The client_id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

HOUR = 3_600_000_000

_T = TypeVar("_T")


@client.command()
def add(
    name: Annotated[str, typer.Option(help="What people are shown when they are asked to allow it.")],
    type: Annotated[
        Literal["public", "confidential", "backend"],
        typer.Option(
            help="`public`: an app that can keep no secret. `confidential`: an app with a server, or with keys. `backend`: a service"
            " without users."
        ),
    ],
    scope: Annotated[str, typer.Option(help="The most it may ask for: SMART scopes, separated by blanks.")],
    redirect_uri: Annotated[list[str] | None, typer.Option(help="Where users come back to. May be given several times.")] = None,
    launch_uri: Annotated[str, typer.Option(help="Where an EHR starts the app.")] = "",
    jwks: Annotated[Path | None, typer.Option(help="File with its public keys, a JWK Set.")] = None,
    jwks_uri: Annotated[str, typer.Option(help="Where it publishes its public keys, a JWK Set.")] = "",
    skip_consent: Annotated[
        bool,
        typer.Option(
            "--skip-consent", help="Users are not asked: it is the organization's own app, and gets all that it asks for."
        ),
    ] = False,
    fhir_context_as: Annotated[
        Literal["objects", "references"],
        typer.Option(
            help="How it is told the `fhirContext` of a launch. `references`: as an array of texts such as `ImagingStudy/1`, for apps made"
            " for SMART 2.0."
        ),
    ] = "objects",
    deidentified: Annotated[
        bool,
        typer.Option(
            "--deidentified", help="A service for analysts: it gets de-identified exports and nothing else, whatever its scopes."
        ),
    ] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Add a client and print its client_id and, once, its client_secret if it has one (it is not kept in a form that can be read)."""
    asked = Asked(
        name, type, scope, tuple(redirect_uri or ()), launch_uri, jwks, jwks_uri, skip_consent, fhir_context_as, deidentified
    )
    made, secret = _run(_add(load_settings({"data_dir": data_dir}), asked))
    found = {"client_id": made.id} | ({"client_secret": secret} if secret else {})
    if as_json:
        typer.echo(json.dumps({**found, **_shown(made)}))
    else:
        for key, value in found.items():
            typer.echo(f"{key}: {value}")


@client.command(name="list")
def list_clients(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List all clients."""
    found = _run(_list(load_settings({"data_dir": data_dir})))
    if as_json:
        typer.echo(json.dumps([_shown(each) for each in found]))
        return
    for each in found:
        typer.echo(f"{each.id}  {each.type:<12}  {'disabled  ' if each.disabled else ''}{each.name}")


@client.command()
def show(id: Id, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show what is kept of a client, but for its secret."""
    shown = _shown(_run(_show(load_settings({"data_dir": data_dir}), id)))
    if as_json:
        typer.echo(json.dumps(shown))
        return
    for key, value in shown.items():
        typer.echo(f"{key}: {value if isinstance(value, str) else json.dumps(value)}")


@client.command()
def rotate(
    id: Id,
    keep_old: Annotated[int, typer.Option(help="Hours for which the old secret is still good.", min=0, max=8_760)] = 24,
    jwks: Annotated[Path | None, typer.Option(help="File with the new public keys, a JWK Set.")] = None,
    jwks_uri: Annotated[str, typer.Option(help="Where the client publishes its public keys from now on.")] = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Give a client a new client_secret and print it, once; or give it other keys (--jwks, --jwks-uri), which count at once."""
    if jwks is not None or jwks_uri:
        changed = _run(_change_keys(load_settings({"data_dir": data_dir}), id, jwks, jwks_uri))
        if as_json:
            typer.echo(json.dumps(_shown(changed)))
        return
    secret = _run(_rotate(load_settings({"data_dir": data_dir}), id, keep_old * HOUR))
    typer.echo(json.dumps({"client_id": id, "client_secret": secret}) if as_json else f"client_secret: {secret}")


@client.command()
def disable(id: Id, data_dir: DataDir = None) -> None:
    """Let a client do nothing any more, and end its tokens; `enable` brings it back."""
    _run(_switch(load_settings({"data_dir": data_dir}), id, disabled=True))


@client.command()
def enable(id: Id, data_dir: DataDir = None) -> None:
    """Let a client that was disabled ask for tokens again."""
    _run(_switch(load_settings({"data_dir": data_dir}), id, disabled=False))


@client.command()
def remove(id: Id, data_dir: DataDir = None) -> None:
    """Forget a client and end all its tokens."""
    _run(_remove(load_settings({"data_dir": data_dir}), id))


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    try:
        return asyncio.run(work)
    except ValueError as refusal:
        fail(str(refusal))
    except Conflict:
        fail("somebody else changed this client at the same time; try again")


async def _add(settings: Settings, asked: Asked) -> tuple[Client, str]:
    from fhir_server.app import open_service

    async with open_service(settings) as service:
        made, secret = new_client(asked, service.directory.types(), service.clock(), service.remote_keys.allowed)
        await service.commit(kept(made), happening=told(f"the client {made.name} was added ({made.type})", made))
        return made, secret


async def _list(settings: Settings) -> list[Client]:
    from fhir_server.app import open_service

    async with open_service(settings) as service:
        return [each async for each in all_clients(service.store)]


async def _show(settings: Settings, id: str) -> Client:
    from fhir_server.app import open_service

    async with open_service(settings) as service:
        return (await _stored(service, id)).client


async def _rotate(settings: Settings, id: str, keep_old: int) -> str:
    from fhir_server.app import open_service

    async with open_service(settings) as service:
        found = await _stored(service, id)
        secret, changed = rotated(found.client, service.clock(), keep_old)
        await service.commit(kept(changed, found.revision), happening=told("the client was given a new secret", changed))
        return secret


async def _change_keys(settings: Settings, id: str, jwks: Path | None, jwks_uri: str) -> Client:
    from fhir_server.app import open_service

    async with open_service(settings) as service:
        found = await _stored(service, id)
        changed = with_keys(found.client, jwks, jwks_uri, service.remote_keys.allowed)
        await service.commit(kept(changed, found.revision), happening=told("the client was given new keys", changed))
        return changed


async def _switch(settings: Settings, id: str, *, disabled: bool) -> None:
    from fhir_server.app import open_service

    async with open_service(settings) as service:
        found = await _stored(service, id)
        changed = msgspec.structs.replace(found.client, disabled=disabled)
        happening = told(f"the client was {'disabled' if disabled else 'enabled'}", changed)
        await service.commit(kept(changed, found.revision), happening=happening)
        if disabled:
            await end_tokens(service, id, "fhir-server client")


async def _remove(settings: Settings, id: str) -> None:
    from fhir_server.app import open_service

    async with open_service(settings) as service:
        found = await _stored(service, id)
        off = msgspec.structs.replace(
            found.client, disabled=True
        )  # so that an interrupted removal can be repeated, and lets nobody in
        await service.commit(kept(off, found.revision))
        await end_tokens(service, id, "fhir-server client")
        await forget_state(service, id)
        gone = RecordChange(KIND, id, None)
        await service.commit(gone, happening=told(f"the client {found.client.name} was removed", found.client))


async def _stored(service: Service, id: str) -> Stored:
    found = await stored_client(service.store, id)
    if found is None:
        raise ValueError(f"there is no client {id}; `fhir-server client list` shows all")
    return found


def _shown(client: Client) -> dict[str, Any]:
    """What administrators see of a client: all but secrets."""
    return {
        "client_id": client.id,
        "name": client.name,
        "type": client.type,
        "scope": client.scopes,
        "token_endpoint_auth_method": client.auth_method,
        "redirect_uris": list(client.redirect_uris),
        **({"launch_uri": client.launch_uri} if client.launch_uri else {}),
        **({"jwks": client.jwks} if client.jwks else {}),
        **({"jwks_uri": client.jwks_uri} if client.jwks_uri else {}),
        **({"fhir_context": client.fhir_context} if client.fhir_context != "objects" else {}),
        **({"deidentified": True} if client.deidentified else {}),
        "disabled": client.disabled,
        "created": datetime.fromtimestamp(client.created / 1_000_000, UTC).isoformat(timespec="seconds"),
    }
