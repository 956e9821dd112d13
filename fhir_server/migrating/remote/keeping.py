"""State of a source in a small file, replaced as a whole."""

import os
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")


def load(path: Path, type: type[T]) -> T | None:
    """What was saved, if anything."""
    return msgspec.json.decode(path.read_bytes(), type=type) if path.exists() else None


def save(path: Path, value: object) -> None:
    """Save it, so that after a crash there is the old or the new state."""
    draft = path.with_name(f"{path.name}.part")
    with draft.open("wb") as file:
        file.write(msgspec.json.encode(value))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
