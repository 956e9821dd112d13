"""The store contract (resources/store.py), one suite on every implementation."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from contracts.store_harness import EMBEDDED, EVENT, KINDS, Clock, Test, change, collect, family, removal, setting

from resources.documents import draft
from resources.store import ABSENT, ANY, Change, Claim, Conflict, Key, Receipt, ResourceStore, Version
from resources.stores.participant import Applied


def test_a_written_document_is_read_back_with_its_version_and_instant_inside(run: Callable[[Test], None]) -> None:
    """What a commit returns, what read gives and what the bytes say is the same."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        [written] = await store.commit([change("1", expect=ABSENT, method="POST")])
        found = await store.read("Patient", "1")
        assert found == written.version
        assert written.created
        assert found is not None
        assert (found.version, found.instant, found.method) == (1, clock.now, "POST")
        meta = msgspec.json.decode(found.body or b"")["meta"]
        assert meta == {"versionId": "1", "lastUpdated": "2023-11-14T22:13:20.000Z"}

    run(test)


def test_a_commit_that_wants_no_echo_is_kept_whole(run: Callable[[Test], None]) -> None:
    """What is not wanted back need not be held in memory until the end; it is stored all the same."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        [written] = await store.commit([change("1", "b", echo=False)])
        found = await store.read("Patient", "1")
        assert family(found) == "b"
        assert written.version.body is not None, "it is no deletion"
        assert found is not None and (found.version, found.position) == (written.version.version, written.version.position)

    run(test)


def test_versions_count_up_through_updates_and_deletions(run: Callable[[Test], None]) -> None:
    """A deletion is a version of its own, and a resource brought back goes on counting."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        seen = []
        for step in (change("1"), change("1", "b"), removal("1"), change("1", "c")):
            [written] = await store.commit([step])
            seen.append((written.version.version, written.created, family(written.version)))
        assert seen == [(1, True, "a"), (2, False, "b"), (3, False, None), (4, True, "c")]
        for number, name in ((1, "a"), (2, "b"), (3, None), (4, "c")):
            version = await store.read_version("Patient", "1", number)
            assert version is not None
            assert family(version) == name
        assert await store.read_version("Patient", "1", 5) is None

    run(test)


@pytest.mark.parametrize(
    ("before", "attempt", "reason", "current"),
    [
        ([change("1")], change("1", expect=ABSENT), "exists", 1),
        ([change("1"), change("1")], change("1", expect=1), "version", 2),
        ([], change("1", expect=1), "missing", 0),
        ([change("1"), removal("1")], change("1", expect=1), "deleted", 0),
        ([], removal("1"), "missing", 0),
        ([change("1"), removal("1")], removal("1"), "deleted", 0),
        ([change("1")], removal("1", expect=2), "version", 1),
    ],
)
def test_a_broken_precondition_refuses_the_whole_commit(
    run: Callable[[Test], None], before: list[Change], attempt: Change, reason: str, current: int
) -> None:
    """The conflict names the change at fault and nothing of the commit is written."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        for step in before:
            await store.commit([step])
        position = await store.position()
        with pytest.raises(Conflict) as caught:
            await store.commit([change("other"), attempt], events=[EVENT])
        assert (caught.value.reason, caught.value.index, caught.value.current) == (reason, 1, current)
        assert await store.read("Patient", "other") is None
        assert await store.position() == position

    run(test)


def test_two_changes_of_one_resource_in_a_commit_are_refused(run: Callable[[Test], None]) -> None:
    """Nobody could say which of them counts."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        with pytest.raises(ValueError, match="one change"):
            await store.commit([change("1"), change("1", "b")])
        assert await store.read("Patient", "1") is None

    run(test)


def test_of_many_racers_with_the_same_version_one_wins(run: Callable[[Test], None]) -> None:
    """Concurrent updates that all expect version 1 make version 2 and no more."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        await store.commit([change("1")])
        answers = await asyncio.gather(*(store.commit([change("1", str(n), expect=1)]) for n in range(50)), return_exceptions=True)
        assert sum(isinstance(answer, Conflict) for answer in answers) == 49
        found = await store.read("Patient", "1")
        assert found is not None
        assert found.version == 2

    run(test)


def test_of_many_racers_with_the_same_claim_one_wins(run: Callable[[Test], None]) -> None:
    """A claim made at a position is refused once somebody else committed the same claim after it."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        claim = Claim(b"0123456789abcdef", await store.position())
        answers = await asyncio.gather(
            *(store.commit([change(str(n), expect=ABSENT)], claims=[claim]) for n in range(50)), return_exceptions=True
        )
        assert sum(isinstance(answer, Conflict) and answer.reason == "claim" for answer in answers) == 49
        later = Claim(claim.key, await store.position())
        await store.commit([change("later")], claims=[later])

    run(test)


def test_a_receipt_is_kept_with_the_commit_and_refuses_a_second_one_until_it_expires(run: Callable[[Test], None]) -> None:
    """The answer of a request with an idempotency key is there exactly if its writes are."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        receipt = Receipt(b"k" * 32, b"d" * 32, lambda written: written[0].version.id.encode(), clock.now + 10_000_000)
        await store.commit([change("1")], receipt=receipt)
        kept = await store.receipt(receipt.key)
        assert kept is not None
        assert (kept.digest, kept.answer) == (receipt.digest, b"1")
        with pytest.raises(Conflict, match="receipt"):
            await store.commit([change("2")], receipt=receipt)
        assert await store.read("Patient", "2") is None
        clock.now += 20_000_000
        assert await store.receipt(receipt.key) is None

    run(test)


def test_read_many_keeps_the_order_and_leaves_gaps_for_what_is_not_there(run: Callable[[Test], None]) -> None:
    """A wrong hint never gives a wrong document."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        await store.commit([change("1", "a"), change("2", "b"), change("1", "p", type="Practitioner")])
        keys = [Key("Patient", "2"), Key("Patient", "9"), Key("Patient", "1", 2), Key("Practitioner", "1", 1)]
        assert [family(v) for v in await store.read_many(keys)] == ["b", None, "a", "p"]

    run(test)


def test_history_gives_versions_newest_first_in_pages(run: Callable[[Test], None]) -> None:
    """Pages of one resource, a type and the system join to the whole, with nothing twice, while more is written."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        for number in range(4):
            await store.commit([change("1", str(number)), change("1", str(number), type="Practitioner")], events=[EVENT])
        for type_, id_, total in (("Patient", "1", 4), ("Patient", None, 4), (None, None, 8), ("Practitioner", "1", 4)):
            seen: list[Version] = []
            before = None
            while True:
                page = await store.history(type_, id_, before=before, limit=3)
                seen += page.versions
                await store.commit([change("new", str(len(seen)), type="Basic")])
                if page.next is None:
                    break
                before = page.next
            kept = [v for v in seen if v.type != "Basic"]
            assert len(kept) == total
            positions = [v.position for v in seen]
            assert positions == sorted(positions, reverse=True)
            assert len(set(positions)) == len(positions)
        assert (await store.history("Patient", "none")).versions == []

    run(test)


def test_history_can_be_cut_by_time(run: Callable[[Test], None]) -> None:
    """`since` is inclusive; `at` gives what was current at some moment of the interval."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        start = clock.now
        for number in range(5):
            clock.now = start + number * 1_000_000
            await store.commit([change("1", str(number))])
        since = await store.history("Patient", "1", since=start + 2_000_000)
        assert [v.version for v in since.versions] == [5, 4, 3]
        at = await store.history("Patient", "1", at=(start + 1_500_000, start + 2_500_000))
        assert [v.version for v in at.versions] == [3, 2]
        at = await store.history(None, None, at=(start - 10, start))
        assert at.versions == []

    run(test)


def test_a_scan_is_a_snapshot_in_shards_whatever_is_written_meanwhile(run: Callable[[Test], None]) -> None:
    """Each live resource once, as it was at the position; the shards part them without overlap."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        for number in range(20):
            await store.commit([change(str(number), "old")], events=[EVENT])
        await store.commit([removal("3")])
        until = await store.position()
        for number in range(10):
            await store.commit([change(str(number), "new")])
        await store.commit([removal("15"), change("99", "new")])
        whole = await collect(store.scan(["Patient"], until=until))
        assert sorted(int(v.id) for v in whole) == [n for n in range(20) if n != 3]
        assert {family(v) for v in whole} == {"old"}
        parts = [await collect(store.scan(["Patient"], until=until, shard=(n, 3))) for n in range(3)]
        assert sorted(v.id for part in parts for v in part) == sorted(v.id for v in whole)
        middle = whole[7].position
        assert await collect(store.scan(["Patient"], until=until, after=middle)) == whole[8:]
        everything = await collect(store.scan([], until=until))
        assert sum(v.type == "AuditEvent" for v in everything) == 20

    run(test)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "memory"])
def test_a_scan_of_large_documents_has_short_lists(kind: str, tmp_path: Path) -> None:
    """A list is held in memory as a whole, so it ends by bytes too, and the next one goes on behind it."""

    async def test(store: ResourceStore) -> None:
        await store.open()
        for number in range(30):
            data = random.Random(number).randbytes(500_000).hex()
            await store.commit(
                [Change("Binary", str(number), draft(b'{"resourceType":"Binary","data":"%b"}' % data.encode(), str(number)))]
            )
        lists = [part async for part in store.scan(["Binary"], until=await store.position())]
        assert [version.position for part in lists for version in part] == list(range(1, 31))
        assert 8 <= max(len(part) for part in lists) <= 10
        await store.close()

    with setting(kind, tmp_path) as place:
        asyncio.run(test(KINDS[kind].make(place)))


def test_the_outbox_tells_all_versions_and_events_in_commit_order(run: Callable[[Test], None]) -> None:
    """An index that applies them one after the other ends with what is current."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        await store.commit([change("1")], events=[EVENT])
        middle = await store.position()
        await store.commit([change("2")], events=[EVENT, EVENT])
        await store.commit([removal("1")])
        told = await collect(store.outbox(after=0, limit=2))
        assert [(v.type, v.body is None) for v in told] == [
            ("Patient", False), ("AuditEvent", False), ("Patient", False), ("AuditEvent", False), ("AuditEvent", False),
            ("Patient", True),
        ]  # fmt: skip
        assert await collect(store.outbox(after=middle)) == told[2:]
        assert await collect(store.outbox(after=await store.position())) == []

    run(test)


def test_time_never_runs_backwards_from_one_commit_to_the_next(run: Callable[[Test], None]) -> None:
    """A clock that is set back does not give a later commit an earlier instant."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        [first] = await store.commit([change("1")])
        clock.now -= 60_000_000
        [second] = await store.commit([change("1", expect=ANY)])
        assert second.version.instant >= first.version.instant

    run(test)


def test_a_large_commit_lets_others_read_meanwhile_and_shows_all_or_nothing(run: Callable[[Test], None]) -> None:
    """Readers never see a part of a commit, however large."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        writing = asyncio.create_task(_start(store.commit([change(str(n)) for n in range(3_000)])))
        seen = set()
        while not writing.done():
            first, last = await store.read_many([Key("Patient", "0"), Key("Patient", "2999")])
            seen.add((first is None, last is None))
            await asyncio.sleep(0)
        await writing
        assert seen <= {(True, True), (False, False)}

    run(test)


async def _start(commit: Coroutine[Any, Any, Any]) -> None:
    await commit


def test_a_key_is_an_address_whatever_its_hint() -> None:
    """Two keys of one resource are equal, so that sets and dictionaries know it once."""
    assert Key("Patient", "1") == Key("Patient", "1", 7)
    assert len({Key("Patient", "1"), Key("Patient", "1", 7), Key("Patient", "2"), Key("Basic", "1")}) == 3
    with pytest.raises(AttributeError):
        Key("Patient", "1").id = "2"  # type: ignore[misc]


def test_positions_become_visible_in_order(run: Callable[[Test], None]) -> None:
    """Whoever sees a position sees everything up to it: following it, nothing is missed and nothing comes twice."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        assert await store.position() == 0
        writing = [asyncio.create_task(_start(store.commit([change(str(n))], events=[EVENT]))) for n in range(60)]
        told: list[Version] = []
        while len(told) < 120:
            seen = await store.position()
            told += [v async for part in store.outbox(after=told[-1].position if told else 0) for v in part]
            assert (told[-1].position if told else 0) >= seen
            await asyncio.sleep(0)
        await asyncio.gather(*writing)
        assert [v.position for v in told] == list(range(1, 121))
        assert await store.position() == 120

    run(test)


def test_the_newest_position_of_each_type_is_told(run: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Creates, deletions and events count, in the order of the types asked for; what has never been has 0."""
    monkeypatch.setattr("resources.stores.mongo.tail.MOST", 4)  # so that more has come than is followed

    async def test(store: ResourceStore, _: Clock) -> None:
        assert await store.newest(["Patient", "AuditEvent"]) == [0, 0]
        await store.commit([change("1"), change("o", type="Organization")], events=(EVENT, EVENT))
        assert await store.newest(["Organization", "Patient", "Basic", "AuditEvent"]) == [2, 1, 0, 4]
        await store.commit([removal("1")])
        assert await store.newest(["AuditEvent", "Patient", "Patient"]) == [4, 5, 5]
        for n in range(3):
            await store.commit([change(f"{n}", type="Basic"), change(f"{n}", type="AuditEvent")])
        assert await store.newest(["Basic", "AuditEvent", "Patient"]) == [10, 11, 5]
        for n in range(12):  # whatever is asked at the same time: who asks after a commit is told of it
            [written], _ = await asyncio.gather(store.commit([change(f"{n}", type="Device")]), store.newest(["Device", "Basic"]))
            told = await asyncio.gather(*(store.newest(["Device"]) for _ in range(3)))
            assert told == [[written.version.position]] * 3

    run(test)


def test_the_history_of_anything_can_be_counted(run: Callable[[Test], None]) -> None:
    """The count is the number of versions on all pages, whatever they are cut by."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        start = clock.now
        [logged] = [v for v in [await _event(store)] if v is not None]
        for number in range(5):
            clock.now = start + number * 1_000_000
            steps = [change("1", str(number)), change(f"p{number}", type="Practitioner")]
            await store.commit(steps, events=[EVENT] * number)
        await store.commit([removal("1")])
        places = [
            ("Patient", "1"), ("Patient", "none"), ("Patient", None), ("Practitioner", "p3"), ("Practitioner", None), (None, None),
            ("AuditEvent", None), ("AuditEvent", logged.id), ("AuditEvent", "event-2"), ("AuditEvent", "event-999"), ("Basic", None),
        ]  # fmt: skip
        moments = [start - 1, start, start + 1, start + 1_500_000, start + 2_000_000, start + 9_000_000]
        cuts: list[dict[str, Any]] = [{}, *({"since": moment} for moment in moments)]
        cuts += [{"at": (low, high)} for low in moments for high in moments if low < high]
        cuts.append({"since": start + 1_000_000, "at": (start, start + 3_000_000)})
        for type_, id_ in places:
            for cut in cuts:
                whole = await store.history(type_, id_, limit=1000, **cut)
                assert await store.count_history(type_, id_, **cut) == len(whole.versions), (type_, id_, cut)
        assert await store.count_history("Patient", "1") == 6
        assert await store.count_history("AuditEvent", None) == 11

    run(test)


async def _event(store: ResourceStore) -> Version | None:
    await store.commit([], events=[EVENT])
    return (await store.history("AuditEvent", None)).versions[0]


def test_an_index_outside_keeps_its_place_in_the_store(run: Callable[[Test], None]) -> None:
    """What it confirms never goes back, is kept for each index by itself, and ends when the index does."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        assert await store.confirmed("one") == 0
        await store.commit([change("1"), change("2")], events=[EVENT])
        until = await store.position()
        await store.confirm("one", until)
        await store.confirm("two", 1)
        await store.confirm("one", 1)
        assert (await store.confirmed("one"), await store.confirmed("two")) == (until, 1)
        await store.commit([change("3")])
        assert [v.id for v in await collect(store.outbox(after=await store.confirmed("one")))] == ["3"]
        await store.confirm("two", None)
        await store.confirm("never", None)
        assert (await store.confirmed("two"), await store.confirmed("one")) == (0, until)
        assert await store.position() == until + 1

    run(test)


def test_the_outbox_keeps_everything(run: Callable[[Test], None]) -> None:
    """Every version and event from the first on is told again, whatever indexes have confirmed, and after the last of them is gone."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        await store.commit([change("1"), change("2")], events=[EVENT])
        await store.confirm("one", await store.position())
        await store.commit([change("1")])
        await store.commit([removal("2")], events=[EVENT])
        everything = await collect(store.outbox(after=0))
        assert [(v.type, v.version, v.body is None) for v in everything] == [
            ("Patient", 1, False), ("Patient", 1, False), ("AuditEvent", 1, False), ("Patient", 2, False), ("Patient", 2, True),
            ("AuditEvent", 1, False),
        ]  # fmt: skip
        for index, position in (("one", await store.position()), ("two", 1), ("two", None), ("one", None)):
            clock.now += 400 * 86_400_000_000
            await store.confirm(index, position)
            await store.commit([change("3")])
            assert (await collect(store.outbox(after=0)))[: len(everything)] == everything

    run(test)


class Listening:
    """A participant that keeps what it is told; its entry of a document is the family name in it."""

    def __init__(self) -> None:
        self.told: list[Applied] = []

    def install(self, connection: Any) -> None:
        """Nothing to make."""

    def stale(self, connection: Any) -> bool:
        return False

    def rebuild(self, connection: Any, documents: Iterable[tuple[int, str, str, int, bytes]]) -> int:
        return 0

    def write(self, connection: Any, applied: Sequence[Applied]) -> None:
        self.told += applied

    def prepare(self, type: str, body: bytes) -> Any:
        document = msgspec.json.decode(body)
        if "name" not in document:
            raise ValueError("this document has no name")
        return ("prepared", document["name"][0]["family"], document["meta"]["versionId"])


@pytest.mark.parametrize("kind", EMBEDDED)
def test_a_change_without_an_entry_is_indexed_all_the_same(kind: str, tmp_path: Path) -> None:
    """The participant prepares it from the document; it is told a deletion by `live`; what cannot be prepared is not written."""
    index = Listening()

    async def test(store: ResourceStore) -> None:
        await store.open()
        assert store.wants_entries
        for step in (change("1", "x", entry="given"), change("1", "y"), removal("1")):
            await store.commit([step])
        assert [(a.entry, a.live, a.new, a.created) for a in index.told] == [
            ("given", True, True, True), (("prepared", "y", "2"), True, False, False), (None, False, False, False),
        ]  # fmt: skip
        nameless = Change("Patient", "2", draft(b'{"resourceType":"Patient"}', "2"))
        with pytest.raises(ValueError, match="no name"):
            await store.commit([change("3"), nameless])
        assert await store.read_many([Key("Patient", "2"), Key("Patient", "3")]) == [None, None]
        await store.close()

    with setting(kind, tmp_path, index) as place:
        asyncio.run(test(KINDS[kind].make(place)))


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_store_without_an_index_of_its_own_wants_no_entries(kind: str, tmp_path: Path) -> None:
    """Nobody need extract what nobody reads."""
    with setting(kind, tmp_path) as place:
        assert not KINDS[kind].make(place).wants_entries
