"""All commands together, and what they have in common: one clear line for an error, and exit codes.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | carried out, but something in it failed (the output says what) |
| 2 | not carried out: wrong options, settings, files, or a port or data folder that cannot be used |
| 130 | stopped with Ctrl+C |
"""

import sys

import typer

from fhir_server.cli.auditing.commands import audit
from fhir_server.cli.authorization.clients import client
from fhir_server.cli.authorization.keys import keys
from fhir_server.cli.authorization.token import token
from fhir_server.cli.authorization.users import user
from fhir_server.cli.bulk.deidentify import deidentify
from fhir_server.cli.bulk.sql import sql
from fhir_server.cli.bulk.worker import worker
from fhir_server.cli.check_config import check_config
from fhir_server.cli.importing.commands import import_
from fhir_server.cli.load import load
from fhir_server.cli.move import move_command
from fhir_server.cli.reindex import reindex
from fhir_server.cli.serve import serve
from fhir_server.cli.show import fail
from fhir_server.cli.verify_index import verify_index
from fhir_server.cli.version import version
from fhir_server.config import SettingsError
from resources.store import StoreUnavailable

application = typer.Typer(
    name="fhir-server",
    help="A FHIR R4 server. Settings are environment variables: `fhir-server check-config` shows them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for name, command in (
    ("serve", serve),
    ("worker", worker),
    ("load", load),
    ("move", move_command),
    ("reindex", reindex),
    ("verify-index", verify_index),
    ("deidentify", deidentify),
    ("sql", sql),
    ("check-config", check_config),
    ("token", token),
    ("version", version),
):
    application.command(name)(command)
application.add_typer(client)
application.add_typer(import_)
application.add_typer(audit, name="audit")
application.add_typer(keys, name="keys")
application.add_typer(user, name="user")


def main() -> None:
    """Run the command line and exit."""
    try:
        application(prog_name="fhir-server")
    except (SettingsError, StoreUnavailable) as error:
        fail(str(error))
    except BrokenPipeError:  # whoever read our output has gone (`| head`)
        sys.stderr.close()
        sys.exit(1)
