"""What parts of an export write, and what they leave behind: files, and how far they have come."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec


class Item(NamedTuple):
    """A document's bytes, and where the part has come with it. Where a view makes rows of the document, it is these (`lines` of them, of
    `weight` characters) that are written."""

    data: bytes
    after: int
    lines: int = 1
    rows: Sequence[tuple[Any, ...]] = ()
    weight: int = 0


class Written(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file of an export: its name within the job, the type of its documents ("": of several), how many, how many bytes. `about`: the
    types that whoever fetches it must be allowed to see; `role`: which list of the manifest names it."""

    name: str
    type: str
    count: int
    size: int
    about: tuple[str, ...] = ()
    role: str = "output"


class Place(msgspec.Struct, frozen=True):
    """How far a part has come: everything up to `after` (a position) is in `files`."""

    after: int
    files: tuple[Written, ...] = ()
