"""`fhir-server check-config`."""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fhir_server.cli.advice import advice
from fhir_server.cli.show import REFUSED, err, escaped, fail, out
from fhir_server.config import Settings, SettingsError, load_settings, variable, without_password
from fhir_server.data_folder import problem
from fhir_server.files.contract import FilesUnavailable
from fhir_server.files.wiring import files_folder, open_files


def check_config(
    data_dir: Annotated[Path | None, typer.Option(help="Look at this data folder (FHIR_DATA_DIR).")] = None,
    auth: Annotated[str | None, typer.Option(help="smart or off (FHIR_AUTH).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: settings and problems.")] = False,
) -> None:
    """Print the effective settings, secrets hidden, and say whether the server could start with them.

    Exit code 0: it could. 2: it could not, and why.
    """
    try:
        settings = load_settings({"data_dir": data_dir, "auth": auth})
    except SettingsError as error:
        if as_json:
            typer.echo(json.dumps({"settings": None, "problems": [str(error)]}))
            raise typer.Exit(REFUSED) from None
        fail(str(error))
    shown, problems = effective(settings), _problems(settings)
    if as_json:
        typer.echo(json.dumps({"settings": shown, "problems": problems, "advice": advice(settings)}, indent=2))
    else:
        for name, value in shown.items():
            out.print(f"{name}={'not set' if value is None else escaped(str(value))}")
        for text in advice(settings):
            err.print(f"[yellow]advice:[/] {escaped(text)}")
        for text in problems:
            err.print(f"[bold red]problem:[/] {escaped(text)}")
        if not problems:
            err.print("[green]The server can start with these settings.[/]")
    raise typer.Exit(REFUSED if problems else 0)


def effective(settings: Settings) -> dict[str, Any]:
    """Variable -> value as JSON, as the server understands it; what is secret is hidden."""
    shown = {variable(name): value for name, value in settings.model_dump(mode="json").items()}
    shown["FHIR_STORE_URL"] = without_password(settings.store_url) or f"sqlite:///{settings.database}"
    shown["FHIR_SEARCH_URL"] = without_password(settings.search_url)
    shown["FHIR_REDIS_URL"] = without_password(settings.redis_url)
    shown["FHIR_SEARCH_API_KEY"] = "(set)" if settings.search_api_key else None
    shown["FHIR_FILES_URL"] = settings.files_url or files_folder(settings).as_uri()
    shown["FHIR_FILES_SECRET_KEY"] = "(set)" if settings.files_secret_key else None
    shown["FHIR_BASE_URL"] = settings.base
    shown["FHIR_SECRET"] = "(set)" if settings.secret else "(kept in the data folder)"
    return shown


def _problems(settings: Settings) -> list[str]:
    from fhir_server.cli.tls import tls_context

    found = ["" if settings.in_memory else problem(settings)]
    if settings.tls_cert is not None:
        try:
            tls_context(settings)
        except ValueError as reason:
            found.append(str(reason))
    if settings.files_bucket is not None:
        found.append(_bucket_problem(settings))
    return [text for text in found if text]


def _bucket_problem(settings: Settings) -> str:
    try:
        asyncio.run(open_files(settings).check())
    except SettingsError as reason:
        return str(reason)
    except FilesUnavailable as reason:
        return f"FHIR_FILES_URL={settings.files_url}: {reason}"
    return ""
