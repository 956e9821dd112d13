"""`fhir-server user`: who may sign in."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer

from fhir_server.cli.options import DataDir
from fhir_server.cli.show import escaped, fail, out
from fhir_server.config import load_settings
from smart_auth.errors import OAuthError
from smart_auth.people import administration
from smart_auth.people.administration import Refused
from smart_auth.roles import ROLES
from smart_auth.service import Service
from smart_auth.users import User, find_users

BY = "fhir-server user"

user = typer.Typer(help="Manage who may sign in.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The user's name.", show_default=False)]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input (its first line).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@user.command()
def add(
    name: Name,
    role: Annotated[str, typer.Option(help=f"One of {', '.join(ROLES)}.")],
    fhir_user: Annotated[
        str, typer.Option(help="Whom the user is: Patient/ID, Practitioner/ID, RelatedPerson/ID or Person/ID.")
    ] = "",
    email: Annotated[str, typer.Option(help="Where password resets are sent.")] = "",
    display: Annotated[str, typer.Option(help="What pages call the user.")] = "",
    password_stdin: PasswordStdin = False,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Add a user. Without --password-stdin it has no password until `user reset` gives one."""
    password = _password() if password_stdin else ""
    wanted = User(name, role, fhir_user, display[:200], email)
    added = _run(lambda service: administration.add(service, wanted, password, BY), data_dir)
    _say(added, f"added {added.name}", as_json)


@user.command()
def change(
    name: Name,
    role: Annotated[str | None, typer.Option(help=f"One of {', '.join(ROLES)}.")] = None,
    fhir_user: Annotated[str | None, typer.Option(help="Whom the user is; '' for nobody.")] = None,
    email: Annotated[str | None, typer.Option(help="Where password resets are sent; '' for nowhere.")] = None,
    display: Annotated[str | None, typer.Option(help="What pages call the user.")] = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Change what is known of a user, and end all sessions; with another role or person the access of apps too."""
    given = {"role": role, "fhir_user": fhir_user, "email": email, "display": display and display[:200]}
    changes = {field: value for field, value in given.items() if value is not None}
    if not changes:
        fail("say what to change: --role, --fhir-user, --email or --display")
    _say(_run(lambda service: administration.change(service, name, BY, **changes), data_dir), f"changed {name}", as_json)


@user.command("list")
def list_users(as_json: Json = False, data_dir: DataDir = None) -> None:
    """Show all users."""

    async def all_users(service: Service) -> list[User]:
        found: list[User] = []
        while page := await find_users(service.store, after=found[-1].name if found else ""):
            found += page
        return found

    found = _run(all_users, data_dir)
    if as_json:
        typer.echo(msgspec.json.encode([_shown(each) for each in found]).decode())
        return
    for each in found:
        marks = [each.role, each.fhir_user, "second factor" if each.has_second_factor else "", "disabled" if each.disabled else ""]
        out.print(f"{escaped(each.name)}  {escaped(', '.join(mark for mark in marks if mark))}")


@user.command()
def reset(name: Name, password_stdin: PasswordStdin = False, as_json: Json = False, data_dir: DataDir = None) -> None:
    """End a user's sessions and print a link that sets a new password, good once and for a day; or set the password that is given."""
    if password_stdin:
        password = _password()
        _run(lambda service: administration.set_password(service, name, password, BY), data_dir)
        out.print(f"{escaped(name)} has a new password; all sessions have ended")
        return
    link = _run(lambda service: administration.reset_link(service, name, BY), data_dir)
    typer.echo(msgspec.json.encode({"link": link}).decode() if as_json else link)


@user.command()
def mfa(
    name: Name,
    remove: Annotated[bool, typer.Option("--remove", help="Forget the second factors, for whoever has lost them.")] = False,
    require: Annotated[bool, typer.Option("--require", help="Have one set up at the next sign-in.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Remove a user's second factors, require one, or both (a fresh start)."""
    if not (remove or require):
        fail("say what to do: --remove, --require, or both")

    async def change(service: Service) -> None:
        if remove:
            await administration.remove_second_factors(service, name, BY)
        if require:
            await administration.require_second_factor(service, name, BY)

    _run(change, data_dir)
    done = [text for asked, text in ((remove, "second factors removed"), (require, "second factor required")) if asked]
    out.print(f"{escaped(name)}: {', '.join(done)}; all sessions have ended")


@user.command("remove")
def remove_user(name: Name, data_dir: DataDir = None) -> None:
    """Remove a user."""
    _run(lambda service: administration.remove(service, name, BY), data_dir)
    out.print(f"removed {escaped(name)}")


@user.command()
def disable(name: Name, data_dir: DataDir = None) -> None:
    """Keep a user from signing in, and end all sessions."""
    _run(lambda service: administration.disable(service, name, BY), data_dir)
    out.print(f"disabled {escaped(name)}")


@user.command()
def enable(name: Name, data_dir: DataDir = None) -> None:
    """Let a user sign in again."""
    _run(lambda service: administration.disable(service, name, BY, disabled=False), data_dir)
    out.print(f"enabled {escaped(name)}")


def _password() -> str:
    text = sys.stdin.readline().rstrip("\r\n")
    if not text:
        fail("no password came on standard input")
    return text


Result = TypeVar("Result")


def _run(work: Callable[[Service], Awaitable[Result]], data_dir: Path | None) -> Result:
    async def run() -> Result:
        from fhir_server.app import open_service

        async with open_service(load_settings({"data_dir": data_dir})) as service:
            return await work(service)

    try:
        return asyncio.run(run())
    except Refused as refusal:
        fail(str(refusal))
    except OAuthError as refusal:
        fail(refusal.description)


def _shown(one: User) -> dict[str, object]:
    return {
        "name": one.name, "role": one.role, "fhirUser": one.fhir_user, "display": one.display, "email": one.email,
        "disabled": one.disabled, "totp": bool(one.totp), "passkeys": len(one.passkeys), "recoveryCodes": len(one.recovery),
        "secondFactorRequired": one.second_factor_required,
    }  # fmt: skip


def _say(one: User, text: str, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(_shown(one)).decode())
    else:
        out.print(escaped(text))
