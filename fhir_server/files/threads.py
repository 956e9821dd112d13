"""Work with files in threads, so that the event loop never waits for a disk."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


async def in_thread(work: Callable[[], Result], undo: Callable[[Result], object] = lambda _: None) -> Result:
    """What `work` returns or raises, done in a thread. Where the caller is cancelled it is still waited for (the file that it works on must
    not be closed, and its number given to another file, underneath it), and `undo` is called with what it returned."""
    running = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            try:
                await asyncio.wait([running])
            except asyncio.CancelledError:
                continue  # the first one is raised below
        if running.exception() is None:
            undo(running.result())
        raise
