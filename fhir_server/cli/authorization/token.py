"""`fhir-server token`."""

import asyncio
from typing import Annotated

import typer

from fhir_server.cli.options import DataDir
from fhir_server.cli.show import fail
from fhir_server.config import Settings, load_settings
from resources.store import ResourceStore
from smart_auth.access import OPERATOR, Access
from smart_auth.happenings import Happening
from smart_auth.scopes import Scopes, fault, parse_scopes
from smart_auth.tokens import issue


def token(
    scope: Annotated[str, typer.Option(help="SMART scopes, separated by blanks, such as 'system/*.cruds'.")] = "system/*.rs",
    ttl: Annotated[int, typer.Option(help="Seconds for which the token is good.", min=1)] = 3600,
    patient: Annotated[str, typer.Option(help="The id of the patient that scopes beginning with patient/ are about.")] = "",
    data_dir: DataDir = None,
) -> None:
    """Print an access token, for whoever can read the data folder or the store."""
    read = parse_scopes(scope)
    if read.unknown:
        fail(f"{read.unknown[0]}: {fault(read.unknown[0])}; scopes look like system/*.rs or patient/Observation.rs")
    if not read.resources:
        fail("no scope gives access to anything; try --scope 'system/*.rs'")
    if any(each.level == "user" for each in read.resources):
        fail(
            "scopes that begin with user/ are what a user may do, and they are about a user who signs in; use system/ or patient/ here"
        )
    if any(each.level == "patient" for each in read.resources) and not patient:
        fail("scopes that begin with patient/ are about one patient: name it with --patient ID")
    _check(read)
    settings = load_settings({"data_dir": data_dir})
    if settings.auth_issuer:
        fail(f"this server takes the access tokens of {settings.auth_issuer} (FHIR_AUTH_ISSUER) and none of its own: get one there")
    typer.echo(asyncio.run(_token(settings, read.text, ttl, patient)))


def _check(scopes: Scopes) -> None:
    """Ends the command where a scope names a type that does not exist, or is narrowed by what cannot narrow it."""
    from fhir_server.access.narrowing import problem  # brings the definitions of FHIR along
    from search.parameters import registry

    for scope in scopes.resources:
        if scope.type != "*" and scope.type not in registry().types:
            fail(f"{scope.text}: {scope.type} is not a resource type of FHIR R4")
        if scope.narrowed and (wrong := problem(scope.type, scope.narrowed, ())):
            fail(f"{scope.text}: {wrong}")


async def _token(settings: Settings, scopes: str, ttl: int, patient: str) -> str:
    from fhir_server.app import open_context

    async with open_context(settings) as ctx:
        if patient and not await _there(ctx.store, patient):
            fail(f"there is no Patient/{patient} on this server: --patient takes the id of one, without Patient/")
        now = ctx.clock()
        made, record = issue(Access(OPERATOR, OPERATOR, scopes, now + ttl * 1_000_000, now, patient=patient))
        what = Happening("token", f"an access token was made on the command line: {scopes}", subject=OPERATOR, client=OPERATOR)
        await ctx.store.commit((), events=(ctx.audit.happening(what),), records=(record,))
        return made


async def _there(store: ResourceStore, id: str) -> bool:
    """Whether there is such a patient now. Raises StoreUnavailable."""
    version = await store.read("Patient", id)
    return version is not None and version.body is not None
