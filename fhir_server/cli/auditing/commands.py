"""The commands, together."""

import typer

from fhir_server.cli.auditing.archiving import archive
from fhir_server.cli.auditing.keys import keys, rotate_key
from fhir_server.cli.auditing.verifying import verify

audit = typer.Typer(help="Verify and archive the record of who did what.", no_args_is_help=True)
audit.command()(verify)
audit.command()(keys)
audit.command("rotate-key")(rotate_key)
audit.command()(archive)
