"""`fhir-server import`: its commands."""

import typer

from fhir_server.cli.importing.csv import import_csv
from fhir_server.cli.importing.server import import_server

import_ = typer.Typer(name="import", help="Bring the data of another system into the store.", no_args_is_help=True)
import_.command("server")(import_server)
import_.command("csv")(import_csv)
