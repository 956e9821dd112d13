"""Long work on the event loop, in portions short enough for everybody else."""

import asyncio
from time import perf_counter

PORTION = 0.004
"""Seconds of work after which others get their turn."""


class Pace:
    """Call `breathe` between small pieces of work: it lets the loop go on when a portion is over."""

    def __init__(self) -> None:
        self._since = perf_counter()

    async def breathe(self) -> None:
        """Let others go first if this portion is over."""
        if perf_counter() - self._since > PORTION:
            await asyncio.sleep(0)
            self._since = perf_counter()
