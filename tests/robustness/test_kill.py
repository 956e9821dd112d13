"""Killed at any moment, the server keeps what it answered and nothing by halves (the long run is `kill_loop.py --kills 1000`)."""

import asyncio
from pathlib import Path

import pytest
from robustness.kill_loop import run


@pytest.mark.parametrize(("workers", "kills"), [(1, 6), (2, 2)])
def test_killed_under_load(tmp_path: Path, workers: int, kills: int) -> None:
    """After each SIGKILL every answer holds, transactions are whole, races have one winner, every answer has its AuditEvent."""
    outcome = asyncio.run(run(tmp_path, kills=kills, workers=workers))
    assert outcome.problems == []
    assert outcome.counts["kills"] == kills
    assert outcome.counts["create 201"] > kills
