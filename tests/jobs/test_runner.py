"""Who works on jobs in one store, seen from inside: leases, stops, failures, ends."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jobs.stage import Stage, begin, ended, job_of, lines, opened, running, steady, until, whole

from fhir_server.context import Context
from fhir_server.files.contract import FilesUnavailable
from fhir_server.jobs import ending, lease, runner
from fhir_server.jobs.board import Board, Held, Lost
from fhir_server.jobs.ending import TRIES
from fhir_server.jobs.job import Part, Problem
from fhir_server.jobs.lease import Lease
from fhir_server.jobs.owner import check_owner
from fhir_server.jobs.starting import owner_of
from fhir_server.jobs.work import Failed, Plan, Turn
from fhir_server.messages import Identity
from resources.store import RecordChange, StoreUnavailable, Written
from smart_auth.access import Access

Test = Callable[[Path], Awaitable[None]]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "PAUSE", 0.02)
    monkeypatch.setattr(runner, "IDLE", 0.05)


async def _part(ctx: Context, number: int = 0) -> Held:
    held = await Board(ctx.store).part("a", number)
    assert held is not None
    return held


async def _leased(ctx: Context, number: int = 0, seconds: float = 5.0) -> Lease:
    board = Board(ctx.store)
    held = await board.claim(await _part(ctx, number), ctx.clock() + int(seconds * 1e6))
    return Lease(board, held, ctx.clock, seconds)


def test_everything_is_done_once(tmp_path: Path) -> None:
    """Two processes with two slots each, four jobs: each part is begun once, results are in order, nothing of the parts is left."""

    async def run() -> None:
        stage = Stage(parts=6)
        async with opened(tmp_path) as one, opened(tmp_path) as other, running(one, stage, 2), running(other, stage, 2):
            for id in "abcd":
                await begin(one, id)
            for id in "abcd":
                job = await ended(one, id)
                assert job.state == "done" and msgspec.json.decode(job.result) == [1, 2, 3, 4, 5, 6]
                assert await lines(one, id) == whole(6) and await Board(one.store).parts(id) == []
        assert sorted(stage.begun) == [(id, number) for id in "abcd" for number in range(7)]

    asyncio.run(run())


@pytest.mark.parametrize("skew", [-5.0, 5.0])
def test_clocks_may_differ(tmp_path: Path, skew: float) -> None:
    """By five seconds, with the lease that is the default: no part is taken from who is alive."""

    async def run() -> None:
        stage = Stage(parts=2)

        async def slow(part: int, line: int) -> None:
            await asyncio.sleep(0.1)

        stage.before = slow
        async with opened(tmp_path, jobs_lease=15.0) as one, opened(tmp_path, skew, jobs_lease=15.0) as other:
            await begin(one)
            async with running(one, stage), running(other, stage):
                assert (await ended(one)).state == "done"
        assert sorted(stage.begun) == [("a", 0), ("a", 1), ("a", 2)]

    asyncio.run(run())


def test_jobs_take_turns(tmp_path: Path) -> None:
    """A short job does not wait for the end of a long one that was begun before."""

    async def run() -> None:
        long, short = Stage(parts=1_500), Stage(parts=1)
        async with opened(tmp_path) as ctx:
            one = runner.Runner(ctx, ctx.files, {"lines": long.kind, "short": short.kind})
            one.start()
            await begin(ctx)
            await until(lambda: len(long.begun) > 3)
            await begin(ctx, "b", "short")
            assert (await ended(ctx, "b")).state == "done"
            await one.stop()
            assert (await job_of(ctx)).job.state == "running" and len(long.begun) < 1_000

    asyncio.run(run())


def test_a_part_that_lets_go_takes_turns_too(tmp_path: Path) -> None:
    """Another job is done meanwhile, however often it is begun anew; that is no try in vain, and it goes on where it was."""

    async def run() -> None:
        long, short = Stage(parts=1), Stage(parts=1)
        done = False

        async def let_go(part: int, line: int) -> None:
            if (part, line) == (1, 2) and not done:
                raise Turn

        long.before = let_go
        async with opened(tmp_path) as ctx:
            one = runner.Runner(ctx, ctx.files, {"lines": long.kind, "short": short.kind})
            one.start()
            await begin(ctx)
            await until(lambda: len(long.begun) > TRIES + 5)
            await begin(ctx, "b", "short")
            assert (await ended(ctx, "b")).state == "done" and (await _part(ctx, 1)).part.tries <= 1
            done = True
            assert (await ended(ctx)).state == "done" and await lines(ctx) == whole(1)
            await one.stop()

    asyncio.run(run())


def test_a_clock_that_is_set_back(tmp_path: Path) -> None:
    """A lease that was taken before that is not waited for until the old time has come again."""

    async def run() -> None:
        stage = Stage(parts=1)
        async with opened(tmp_path, 3_600.0) as ahead:
            await begin(ahead)
            await _leased(ahead)
        async with opened(tmp_path) as ctx, running(ctx, stage):
            assert (await ended(ctx)).state == "done"

    asyncio.run(run())


@pytest.mark.parametrize(("hours", "ends"), [(25, True), (23, False)])
def test_tokens_of_other_servers_end_a_job_at_last(tmp_path: Path, hours: int, ends: bool) -> None:
    """A day after the token with which it was begun."""

    async def run() -> None:
        async with opened(tmp_path) as ctx:
            outside = replace(ctx, settings=ctx.settings.model_copy(update={"auth_issuer": "https://issuer.example.org"}))
            access = Access("somebody", "app", "user/*.rs", ctx.clock() - hours * 3_600_000_000, role="practitioner")
            if not ends:
                await check_owner(outside, access)
                return
            with pytest.raises(Failed, match="expired a day ago"):
                await check_owner(outside, access)

    asyncio.run(run())


def test_whose_a_job_is() -> None:
    """Names with slashes, as other servers give them, are not taken for others."""
    assert owner_of(Identity("b/c", "a")) != owner_of(Identity("c", "a/b"))


def test_a_stop_gives_the_part_back(tmp_path: Path) -> None:
    """Somebody else goes on at once from the line that was reached, though the lease would last five minutes; it counts as no try."""

    async def run() -> None:
        stage, there = Stage(parts=1), asyncio.Event()

        async def stuck(part: int, line: int) -> None:
            if (part, line) == (1, 3) and not there.is_set():
                there.set()
                await asyncio.sleep(60)

        stage.before = stuck
        async with opened(tmp_path, jobs_lease=300.0) as ctx:
            await begin(ctx)
            async with running(ctx, stage):
                await there.wait()
            assert (await _part(ctx, 1)).part.tries == 0
            assert msgspec.json.decode((await _part(ctx, 1)).part.place) == 3
            async with running(ctx, stage):
                assert (await ended(ctx)).state == "done"
            assert await lines(ctx) == whole(1)

    asyncio.run(run())


def test_a_stop_does_not_cut_a_commit(tmp_path: Path) -> None:
    """Who is stopped while the place is written gives back a part that has it."""

    async def run() -> None:
        async with opened(tmp_path) as ctx:
            await begin(ctx)
            held = await _leased(ctx)
            keeping = asyncio.create_task(held.keep("far"))
            await asyncio.sleep(0)
            keeping.cancel()
            await held.release(tried=False)
            part = (await _part(ctx)).part
            assert msgspec.json.decode(part.place) == "far" and part.until <= ctx.clock() and part.tries == 0

    asyncio.run(run())


def test_who_has_lost_the_lease_changes_nothing(tmp_path: Path) -> None:
    """Neither the place, nor the end, nor a plan, nor parts that another planner has made meanwhile."""

    async def run() -> None:
        async with opened(tmp_path) as ctx:
            await begin(ctx)
            late, job = await _leased(ctx, seconds=0), await job_of(ctx)
            first = await _leased(ctx)
            await first.plan(job, Plan("new", ["new"] * 600))
            for change in (late.keep("x"), late.finish("x"), late.release(), late.plan(job, Plan("old", ["old"] * 700))):
                with pytest.raises(Lost):
                    await change
            parts = [held.part for held in await Board(ctx.store).parts("a")]
            assert len(parts) == 601 and {bytes(part.what) for part in parts[1:]} == {b'"new"'}
            assert (await job_of(ctx)).job.parts == 601

    asyncio.run(run())


def test_what_a_planner_left_is_not_worked_on(tmp_path: Path) -> None:
    """Parts of a plan that was not finished are replaced by the next plan's, and those that it lacks are left alone and go with the job."""

    async def run() -> None:
        stage = Stage(parts=2)
        async with opened(tmp_path) as ctx:
            await begin(ctx)
            left = await _leased(ctx, seconds=0)
            changes = [Board(ctx.store).claim(Held(Part("a", number, msgspec.Raw(b'"old"')), 0), 0) for number in range(1, 9)]
            for change in changes:
                await change
            async with running(ctx, stage):
                job = await ended(ctx)
            assert job.state == "done" and msgspec.json.decode(job.result) == [1, 2]
            assert await Board(ctx.store).parts("a") == []
            with pytest.raises(Lost):
                await left.keep("x")

    asyncio.run(run())


class _Unsure:
    """A store that loses the connection while a commit is confirmed: once, the commit was kept or not."""

    def __init__(self, store: Any, kept: bool) -> None:
        self._store, self._kept, self.armed = store, kept, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, *changes: Any, records: Any = (), **more: Any) -> list[Written]:
        if not self.armed or not any(isinstance(each, RecordChange) for each in records):
            return await self._store.commit(*changes, records=records, **more)  # type: ignore[no-any-return]
        self.armed = False
        if self._kept:
            await self._store.commit(*changes, records=records, **more)
        raise StoreUnavailable("the connection was lost", uncertain=True)


@pytest.mark.parametrize("kept", [True, False])
def test_nobody_knows_whether_a_commit_was_kept(tmp_path: Path, kept: bool) -> None:
    """The part is looked at before it is written again: the lease goes on, what was kept stays, and the job is done."""

    async def run() -> None:
        async with opened(tmp_path) as ctx:
            store = _Unsure(ctx.store, kept)
            unsure = replace(ctx, store=store)  # type: ignore[arg-type]
            await begin(ctx)
            held = await _leased(unsure)
            store.armed = True
            with pytest.raises(StoreUnavailable):
                await held.keep("far")
            await held.release()
            assert (msgspec.json.decode((await _part(ctx)).part.place) == "far") is kept
            stage = Stage()

            async def lose(part: int, line: int) -> None:
                store.armed = store.armed or stage.begun.count(("a", part)) < 3

            stage.before = lose
            async with running(unsure, stage):
                assert (await ended(ctx)).state == "done"
            assert await lines(ctx) == whole(3)

    asyncio.run(run())


def test_a_part_that_kills_is_given_up(tmp_path: Path) -> None:
    """After so many processes that ended without coming any further the job fails, says why, and has no files."""

    async def run() -> None:
        stage = Stage(parts=1)
        async with opened(tmp_path) as ctx:
            await begin(ctx)
            for _ in range(TRIES):
                await _leased(ctx, seconds=0)
            async with running(ctx, stage):
                job = await ended(ctx)
            assert job.state == "failed" and job.problem is not None and job.problem.status == 500
            assert "given up" in job.problem.text and stage.begun == []

    asyncio.run(run())


def test_whoever_comes_further_may_be_killed_again(tmp_path: Path) -> None:
    """Tries are counted anew from each place."""

    async def run() -> None:
        async with opened(tmp_path) as ctx:
            await begin(ctx)
            for number in range(TRIES + 5):
                await (await _leased(ctx, seconds=0)).keep(number)
                assert (await _part(ctx)).part.tries == 1
                await (await _leased(ctx)).release(tried=True)

    asyncio.run(run())


FAILURES = [
    (Failed(Problem(422, "invalid", "It cannot be done")), 1, (422, "It cannot be done")),
    (RuntimeError("a secret"), TRIES, (500, "again and again")),
    (FilesUnavailable("No room", full=True), TRIES, (507, "No room")),
]


@pytest.mark.parametrize(("failure", "tries", "told"), FAILURES, ids=["failed", "unforeseen", "full"])
@pytest.mark.parametrize("where", [0, 2])
def test_what_fails(tmp_path: Path, failure: Exception, tries: int, told: tuple[int, str], where: int) -> None:
    """A job fails at once where trying again does not help, otherwise after some tries; its owner is told why, and its files are gone."""

    async def run() -> None:
        stage = Stage()

        async def fail(part: int, line: int) -> None:
            if part == where:
                raise failure

        stage.before = fail
        async with opened(tmp_path) as ctx:
            await begin(ctx)
            async with running(ctx, stage) as one:
                job = await ended(ctx)
                await until(lambda: one.counts.under_way == 0)
                assert one.counts.failed == tries
            assert job.state == "failed" and job.problem is not None
            assert job.problem.status == told[0] and told[1] in job.problem.text and "secret" not in job.problem.text
            assert await lines(ctx) == [] and stage.begun.count(("a", where)) == tries

    asyncio.run(run())


def test_a_result_that_cannot_be_made(tmp_path: Path) -> None:
    """It is tried again, and given up in the end; other jobs go on meanwhile."""

    async def run() -> None:
        stage, good, tried = Stage(parts=1), Stage(parts=1), []

        async def broken(*_: Any) -> Any:
            tried.append(1)
            raise RuntimeError("no result")

        async with opened(tmp_path) as ctx:
            kinds = {"lines": replace(stage.kind, result=broken), "good": good.kind}
            one = runner.Runner(ctx, ctx.files, kinds)
            one.start()
            await begin(ctx)
            await until(lambda: tried)
            await begin(ctx, "b", "good")
            assert (await ended(ctx, "b")).state == "done"
            job = await ended(ctx)
            assert job.state == "failed" and job.problem is not None and job.problem.status == 500
            assert len(tried) == TRIES
            await one.stop()

    asyncio.run(run())


def test_a_job_that_is_called_off(tmp_path: Path) -> None:
    """Whoever works on it stops within a sign of life, writes nothing more, and goes on with other jobs."""

    async def run() -> None:
        stage, there = Stage(parts=2), asyncio.Event()

        async def stuck(part: int, line: int) -> None:
            if (part, line) == (1, 2):
                there.set()
                await asyncio.sleep(60)

        stage.before = stuck
        async with opened(tmp_path, jobs_lease=1.0) as ctx:
            await begin(ctx)
            async with running(ctx, stage, slots=2) as one:
                await there.wait()
                await Board(ctx.store).close(await job_of(ctx), state="cancelled", now=ctx.clock())
                await until(lambda: one.counts.under_way == 0, 50)
                stage.before = Stage().before
                await begin(ctx, "b")
                assert (await ended(ctx, "b")).state == "done"
            assert "1.2" not in await lines(ctx)

    asyncio.run(run())


def test_what_has_ended_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results go when they expire, counted from the job's end; what was called off or failed leaves no files, also of writers who were
    late; what is under way does not expire."""
    monkeypatch.setattr(ending, "CLEAR", 0.0)
    monkeypatch.setattr(ending, "SETTLED", 0)

    async def run() -> None:
        stage = Stage(parts=1)
        async with opened(tmp_path) as ctx, opened(tmp_path, 3_000) as later, opened(tmp_path, 7_000) as much_later:
            for id, kind in (("a", "lines"), ("b", "lines"), ("c", "lines"), ("d", "unknown")):
                await begin(ctx, id, kind)
            board = Board(ctx.store)
            await board.close(await job_of(ctx, "b"), state="cancelled", now=ctx.clock())
            await board.close(await job_of(ctx, "c"), state="failed", now=ctx.clock(), problem=Problem(500, "exception", "x"))
            for id in "bc":
                async with ctx.files.writing(f"{id}/late", "text/plain") as file:
                    await file.write(b"late")
            async with running(later, stage):
                assert (await ended(ctx)).state == "done"
                await until(lambda: _gone(ctx, "b"))
                await until(lambda: _empty(ctx, "c"))
                assert (await job_of(ctx, "c")).job.state == "failed" and await lines(ctx) == whole(1)
            async with running(much_later, stage):
                await until(lambda: _gone(ctx, "a"))
                await until(lambda: _gone(ctx, "c"))
                assert await lines(ctx) == [] and (await job_of(ctx, "d")).job.state == "running"

    asyncio.run(run())


def test_one_that_cannot_be_deleted_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of one job that the storage will not delete stay, and are tried again; those of others go, and their results are made."""
    monkeypatch.setattr(ending, "CLEAR", 0.0)
    monkeypatch.setattr(ending, "SETTLED", 0)
    refusing = True

    async def run() -> None:
        nonlocal refusing
        async with opened(tmp_path) as ctx:
            for id in "abcd":
                await begin(ctx, id)
                if id != "d":
                    await Board(ctx.store).close(await job_of(ctx, id), state="cancelled", now=ctx.clock())
            delete = ctx.files.delete

            async def refused(name: str) -> None:
                if refusing and name == "b/":
                    raise FilesUnavailable("The storage refuses")
                await delete(name)

            monkeypatch.setattr(ctx.files, "delete", refused)
            async with running(ctx, Stage(parts=1)):
                assert (await ended(ctx, "d")).state == "done"
                await until(lambda: _gone(ctx, "a"))
                await until(lambda: _gone(ctx, "c"))
                assert not await _gone(ctx, "b")
                refusing = False
                await until(lambda: _gone(ctx, "b"))

    asyncio.run(run())


async def _gone(ctx: Context, id: str) -> bool:
    return await Board(ctx.store).job(id) is None


async def _empty(ctx: Context, id: str) -> bool:
    return not await lines(ctx, id)


def test_signs_of_life(tmp_path: Path) -> None:
    """A part that takes much longer than a lease stays with who works on it."""

    async def run() -> None:
        stage = Stage(parts=1)
        async with steady() as clock, opened(tmp_path, jobs_lease=1.0) as one, opened(tmp_path, jobs_lease=1.0) as other:

            async def slow(part: int, line: int) -> None:
                end = clock() + 1_600_000 * (line == 1)
                await until(lambda: clock() >= end)

            stage.before = slow
            await begin(one)
            async with running(replace(one, clock=clock), stage), running(replace(other, clock=clock), stage):
                assert (await ended(one)).state == "done"
        assert stage.begun == [("a", 0), ("a", 1)] and lease.BEATS > 2

    asyncio.run(run())
