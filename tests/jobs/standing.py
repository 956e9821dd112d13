"""`python standing.py GATE PYTHON -m fhir_server COMMAND…`: that command, but while there is a file GATE, whoever has written a file of a
job (whose name the regular expression in it finds) stands still before that is published: so it is in the middle of a part for as long
as a test wants it to be, however quick the machine is. It is put before the command, as `prlimit` would be."""

import asyncio
import re
import runpy
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from fhir_server.files.folder import Folder, FolderWriter


def stand(gate: Path) -> None:
    """From now on."""
    whole = Folder.writing

    @asynccontextmanager
    async def writing(self: Folder, name: str, content_type: str) -> AsyncIterator[FolderWriter]:
        async with whole(self, name, content_type) as writer:
            yield writer
            await _through(gate, name)

    Folder.writing = writing  # type: ignore[method-assign]


async def _through(gate: Path, name: str) -> None:
    with suppress(FileNotFoundError):  # then it is open
        while True:
            if not re.search(gate.read_text("utf-8"), name):
                return
            await asyncio.sleep(0.01)


def before(gate: Path) -> tuple[str, ...]:
    """What is put before a command."""
    return (sys.executable, __file__, str(gate))


def close(gate: Path, names: str = ".") -> None:
    """Who writes such files stands still from now on."""
    draft = gate.with_suffix(".new")
    draft.write_text(names, "utf-8")
    draft.replace(gate)


if __name__ == "__main__":
    stand(Path(sys.argv[1]))
    sys.argv = ["fhir-server", *sys.argv[5:]]
    runpy.run_module("fhir_server", run_name="__main__", alter_sys=True)
