"""Counting what callers do: within this process, and in a real Redis."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from services.running import own_server, service

from fhir_server.protection import rates
from fhir_server.protection.rates import Counter, InMemory, InRedis, Rate, rate


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("text", "limit"), [("600/minute", (600, 60)), ("1/second", (1, 1)), ("36000/hour", (36_000, 3_600)), ("off", None)]
)
def test_limits_are_read(text: str, limit: tuple[int, int] | None) -> None:
    """A number per second, minute or hour, or off."""
    assert rate(text) == limit


@pytest.mark.parametrize(
    "text", ["", "600", "0/minute", "-1/minute", "1/day", "1 / minute", "1.5/minute", "9999999999/minute", "off "]
)
def test_other_limits_are_refused(text: str) -> None:
    """Anything else is refused, with the form that is understood."""
    with pytest.raises(ValueError, match="600/minute"):
        rate(text)


@pytest.mark.anyio
async def test_the_limit_holds_and_fades() -> None:
    """As much as is allowed passes; the wait that is then told is just long enough."""
    clock = Clock()
    counter, limit = InMemory(clock), Rate(10, 60)
    assert [await counter.hit("a", limit, 1) for _ in range(10)] == [0] * 10
    wait = await counter.hit("a", limit, 1)
    assert wait > 0
    assert await counter.hit("b", limit, 1) == 0, "another caller"
    clock.now += wait - 1
    assert await counter.hit("a", limit, 1) > 0
    clock.now += 1.001
    assert await counter.hit("a", limit, 1) == 0


@settings(max_examples=100, deadline=None)
@given(
    most=st.integers(1, 50),
    steps=st.lists(st.tuples(st.floats(0, 90), st.integers(1, 20)), min_size=1, max_size=60),
)
def test_never_more_than_allowed_and_waits_are_true(most: int, steps: list[tuple[float, int]]) -> None:
    """In no window from one boundary to the next does more pass than is allowed, and whoever waits as told gets through."""

    async def check() -> None:
        clock = Clock()
        counter, limit = InMemory(clock), Rate(most, 60)
        passed: dict[int, int] = {}
        for pause, cost in steps:
            clock.now += pause
            cost = min(cost, most)
            wait = await counter.hit("a", limit, cost)
            if wait:
                assert 1 <= wait <= 120
                clock.now += wait + 0.001
                assert await counter.hit("a", limit, cost) == 0
            window = int(clock.now // 60)
            passed[window] = passed.get(window, 0) + cost
            assert passed[window] <= most

    asyncio.run(check())


@pytest.mark.anyio
async def test_memory_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many callers come, only so many are kept."""
    monkeypatch.setattr(rates, "MOST_KEYS", 100)
    counter = InMemory()
    for number in range(1_000):
        await counter.hit(f"caller {number}", Rate(1, 3_600), 1)
    assert len(counter._windows) == 100
    assert await counter.hit("caller 999", Rate(1, 3_600), 1) > 0


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis has as long as it takes to answer."""
    monkeypatch.setattr(rates, "TIMEOUT", 60.0)


@asynccontextmanager
async def _two(url: str) -> AsyncIterator[tuple[Counter, Counter]]:
    async with aclosing(InRedis(url)) as one, aclosing(InRedis(url)) as other:
        yield one, other


@pytest.mark.anyio
@pytest.mark.usefixtures("unhurried")
async def test_processes_share_one_count_in_redis() -> None:
    """Two counters on one Redis allow together what one alone would, and say when to come back."""
    key, limit = uuid4().hex, Rate(20, 3_600)
    async with _two(service("redis")) as (one, other):
        passed = [await counter.hit(key, limit, 1) for _ in range(15) for counter in (one, other)]
        assert passed.count(0) == 20
        assert all(1 <= wait <= 3_600 for wait in passed[20:])
        assert await other.hit(uuid4().hex, limit, 20) == 0
        assert await one.hit(uuid4().hex, limit, 21) > 0


@pytest.mark.anyio
@pytest.mark.usefixtures("unhurried")
async def test_without_redis_each_process_counts_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While Redis is away nothing fails and limits still hold; it is logged once, and so is its return."""
    clock, limit = Clock(), Rate(5, 3_600)
    with caplog.at_level(logging.WARNING, "fhir_server"), own_server("redis", tmp_path) as server:
        async with aclosing(InRedis(server.url, clock)) as counter:
            assert await counter.hit("a", limit, 5) == 0
            server.kill()
            waits = []
            for _ in range(7):
                clock.now += rates.PAUSE
                waits.append(await counter.hit("a", limit, 1))
            assert waits[:5] == [0] * 5
            assert min(waits[5:]) > 0
            assert len(caplog.records) == 1
            server.start()
            clock.now += rates.PAUSE
            assert await counter.hit("a", limit, 5) == 0, "what Redis had counted is gone with it"
            assert await counter.hit("a", limit, 1) > 0
    assert [record.message.split(" (")[0] for record in caplog.records] == ["Redis", "Redis"]
