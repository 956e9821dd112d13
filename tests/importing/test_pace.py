"""How long a source that gives next to nothing is waited for."""

import pytest

from fhir_server.importing import pace
from fhir_server.importing.pace import Pace


@pytest.mark.parametrize("rest", [0.1, 1.0, 4.9, 16.0, 29.0])
def test_a_source_that_dribbles(rest: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the time between two bytes, it is given up after a minute, or with the window that ends next."""
    now = 0.0
    monkeypatch.setattr(pace.time, "monotonic", lambda: now)
    waiting = Pace()
    while not waiting.too_slow():
        waiting.waits()
        now += rest
        waiting.gave(1)
    assert now + 1e-6 >= pace.SLOW and now <= pace.SLOW + max(rest, pace.WINDOW + rest)


def test_work_on_what_came_is_not_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source is not called slow for the time that its lines took to be stored, nor after one window in which it gave enough."""
    now = 0.0
    monkeypatch.setattr(pace.time, "monotonic", lambda: now)
    waiting = Pace()
    for _ in range(100):
        waiting.waits()
        now += 0.01
        waiting.gave(100)
        now += 10
    assert waiting.slow == 0
    waiting = Pace(slow=pace.SLOW - 1)
    waiting.waits()
    now += pace.WINDOW
    waiting.gave(int(pace.LEAST * pace.WINDOW))
    assert waiting.slow == 0
