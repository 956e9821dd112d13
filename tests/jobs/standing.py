"""`python standing.py GATE PYTHON -m fhir_server COMMAND…`: that command, but while there is a file GATE, whoever has written a file of a
job stands still before that is published (as soon as so many files of the job are there as GATE says): so it is in the middle of a part
for as long as a test wants it to be, however quick the machine is, and whichever part chance took first. It is put before the command,
as `prlimit` would be."""

import asyncio
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
            await _through(gate, (self._root / name).parent)

    Folder.writing = writing  # type: ignore[method-assign]


async def _through(gate: Path, job: Path) -> None:
    with suppress(FileNotFoundError):  # then it is open
        while True:
            if (len(list(job.iterdir())) if job.exists() else 0) < int(gate.read_text("ascii")):
                return
            await asyncio.sleep(0.01)


def before(gate: Path) -> tuple[str, ...]:
    """What is put before a command."""
    return (sys.executable, __file__, str(gate))


def close(gate: Path, after: int = 0) -> None:
    """Whoever writes a file of a job that has `after` of them stands still from now on."""
    draft = gate.with_suffix(".new")
    draft.write_text(str(after), "ascii")
    draft.replace(gate)


if __name__ == "__main__":
    stand(Path(sys.argv[1]))
    sys.argv = ["fhir-server", *sys.argv[5:]]
    runpy.run_module("fhir_server", run_name="__main__", alter_sys=True)
