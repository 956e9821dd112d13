"""The secret of de-identifications, in a file that nobody else can read."""

import os
import secrets
from pathlib import Path

from fhir_server.deidentifying.pseudonyms import SHORTEST


class BadSecret(Exception):
    """A secret that cannot be used; the text says why and what to do."""


def secret_in(path: Path) -> bytes:
    """The secret in the file; a new one, readable for its owner alone, where there is none. Raises BadSecret."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read(path)
    except OSError as error:
        raise BadSecret(f"the secret {path} cannot be made: {error.strerror}") from None
    made = secrets.token_bytes(SHORTEST)
    with os.fdopen(descriptor, "wb") as file:
        file.write(made)
        file.flush()
        os.fsync(file.fileno())
    return made


def _read(path: Path) -> bytes:
    try:
        content, mode = path.read_bytes(), path.stat().st_mode
    except OSError as error:
        raise BadSecret(f"the secret {path} cannot be read: {error.strerror}") from None
    if mode & 0o077:
        raise BadSecret(f"the secret {path} can be read by others: chmod 600 {path}")
    if len(content) < SHORTEST:
        raise BadSecret(f"the secret {path} has {len(content)} bytes, and {SHORTEST} are needed; without a file a new one is made")
    return content
