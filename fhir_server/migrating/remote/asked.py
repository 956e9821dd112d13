"""What is asked of a server that is migrated from."""

from pathlib import Path
from typing import Literal, NamedTuple

Way = Literal["auto", "export", "pages"]


class Asked(NamedTuple):
    """`types` empty: all. `since`: an instant; only what was written since, and what was deleted. `level`: whose records ("Patient",
    "Group/7"; "": everything). `page`: resources a page. Files of more than `most` bytes, and lines longer than `longest`, are refused."""

    types: tuple[str, ...] = ()
    since: str = ""
    level: str = ""
    page: int = 200
    most: int = 1_000_000_000_000
    longest: int = 10_000_000


class File(NamedTuple):
    """A file of NDJSON that was fetched: its path, the type of its resources, and what people know it as."""

    path: Path
    type: str
    shown: str
