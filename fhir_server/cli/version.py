"""`fhir-server version`."""

import json
import platform
from pathlib import Path
from typing import Annotated

import typer


def version(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print the versions of the server, of FHIR and of Python."""
    versions = {"server": server_version(), "fhir": "4.0.1", "python": platform.python_version()}
    typer.echo(json.dumps(versions) if as_json else "fhir-server {server} (FHIR R4 {fhir}, Python {python})".format(**versions))


def server_version() -> str:
    """The version in pyproject.toml, where the source tree has one; the application is never installed as a package."""
    import tomllib

    text = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    found: str = tomllib.loads(text)["project"]["version"]
    return found
