"""The command `fhir-server`: one file a command, put together in `application.py`."""

from fhir_server.cli.application import main

__all__ = ["main"]
