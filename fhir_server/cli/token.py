"""`fhir-server token`."""

from typing import Annotated

import typer

from fhir_server.cli.show import fail


def token(
    scope: Annotated[str, typer.Option(help="SMART scopes, separated by blanks, such as 'system/*.cruds'.")] = "system/*.rs",
    ttl: Annotated[int, typer.Option(help="Seconds for which the token is good.", min=1)] = 3600,
) -> None:
    """Print an access token. Not in this version: it has no sign-in, and `serve --auth off` asks nobody for a token."""
    fail(
        f"no token for {scope} ({ttl} s): sign-in is not part of this version. "
        "Serve with --auth off on a loopback address; requests then need no token"
    )
