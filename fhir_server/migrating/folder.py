"""The folder in which a migration keeps how far it has come, and what it has fetched: its own, locked, for its owner alone."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path

from fhir_server.migrating.contract import Stopped

FOLDER = "import"


@contextmanager
def working_folder(data_dir: Path, *identity: str, dry_run: bool, anew: bool) -> Iterator[Path]:
    """The folder of the migration that is told by `identity`: the same for each attempt at it. A dry run has one of its own, which goes at
    its end. `anew`: what a former attempt left is removed first. A folder with nothing in it does not stay. Raises Stopped where another
    process is at it."""
    if dry_run:
        with tempfile.TemporaryDirectory(prefix="fhir-import-") as made:
            yield Path(made)
        return
    name = blake2b("\0".join(identity).encode(), digest_size=10).hexdigest()
    folder = data_dir / FOLDER / name
    (data_dir / FOLDER).mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(data_dir / FOLDER / f"{name}.lock"):
        if anew:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            yield folder
        finally:
            with suppress(OSError):  # what is in it is gone on with, or all is done and it is gone
                folder.rmdir()


def leftovers(data_dir: Path) -> list[Path]:
    """The folders of migrations that are not finished."""
    return sorted(path for path in (data_dir / FOLDER).glob("*") if path.is_dir())


def forget(folder: Path) -> None:
    """All is done: nothing of it is needed any more."""
    shutil.rmtree(folder)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Stopped("the same import is under way in another process") from None
    finally:
        os.close(descriptor)
