"""The files of this repository, without what tools put beside them, which other tests may be installing at this moment."""

import os
from pathlib import Path


def files(folder: Path, ending: str) -> list[Path]:
    """The files below a folder whose names end so, in order; hidden folders and `node_modules` are passed over."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "node_modules"]
        found += [Path(place, name) for name in names if name.endswith(ending)]
    return sorted(found)
