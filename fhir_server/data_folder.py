"""The data folder: whether it can be used, said before anything starts; and the secret in it."""

import os
import secrets
import tempfile
from pathlib import Path

from fhir_server.config import Settings, SettingsError
from fhir_server.files.wiring import files_folder


def prepare(settings: Settings) -> None:
    """Make the folders for the data. Raises SettingsError where they cannot be made or written to."""
    if settings.in_memory:
        return
    if text := problem(settings):
        raise SettingsError(text)
    for folder in _folders(settings):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"{_name(settings, folder)}={folder} cannot be made: {error.strerror}") from None


def problem(settings: Settings) -> str | None:
    """Why the data folder or the database cannot be used; None if they can. Changes nothing: a folder may still have to be made."""
    for folder in _folders(settings):
        name = _name(settings, folder)
        if not folder.exists():
            parent = next(above for above in folder.parents if above.exists())
            if not parent.is_dir():
                return f"{name}={folder} cannot be made: {parent} is not a folder"
            if not os.access(parent, os.W_OK | os.X_OK):
                return f"{name}={folder} cannot be made: {parent} is not writable"
        elif not folder.is_dir():
            return f"{name}={folder} is not a folder"
        elif (reason := _unwritable(folder)) is not None:
            return f"{name}={folder} is not writable: {reason}"
    database = settings.database
    if database.exists() and not os.access(database, os.R_OK | os.W_OK):
        return f"the database {database} is not readable and writable for this user"
    return None


def _folders(settings: Settings) -> list[Path]:
    files = () if settings.files_bucket else (files_folder(settings),)
    return list(dict.fromkeys((settings.data_dir, settings.database.parent, *files)))


def _name(settings: Settings, folder: Path) -> str:
    if folder == settings.data_dir:
        return "FHIR_DATA_DIR"
    return "FHIR_STORE_URL" if folder == settings.database.parent else "FHIR_FILES_URL"


def _unwritable(folder: Path) -> str | None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror


def secret(settings: Settings) -> bytes:
    """What signs paging links and seals what must be read again: the setting FHIR_SECRET, else a file in the data folder, made at first
    start by whichever process is first."""
    if settings.secret is not None:
        return settings.secret.get_secret_value().encode()
    if settings.in_memory:
        return secrets.token_bytes(32)
    path = settings.data_dir / "secret"
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_once(path, secrets.token_bytes(32))
    return path.read_bytes()


def _write_once(path: Path, content: bytes) -> None:
    if path.exists():
        return
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)  # atomic, and fails where another process was first
    except FileExistsError:
        pass
    finally:
        draft.unlink()
