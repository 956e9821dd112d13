"""`fhir-server version`."""

import json
import platform
from typing import Annotated

import typer

from fhir_server.version import server_version


def version(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print the versions of the server, of FHIR and of Python."""
    versions = {"server": server_version(), "fhir": "4.0.1", "python": platform.python_version()}
    typer.echo(json.dumps(versions) if as_json else "fhir-server {server} (FHIR R4 {fhir}, Python {python})".format(**versions))
