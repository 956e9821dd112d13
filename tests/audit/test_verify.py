"""`fhir-server audit verify`: whatever is done to the audit in the database is found and named (docs/adr/0018)."""

import asyncio
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from audit.conftest import SECRET, Tamper, command, examined, group, lived, put, tamper, verified
from contracts.store_harness import EVENT, KINDS, Setting, setting
from joserfc.jwk import OKPKey

from fhir_server.auditing.checkpoints import Checkpoints
from fhir_server.auditing.findings import Report
from fhir_server.auditing.keys import public_keys, signing_key
from fhir_server.auditing.statements import change_for, sign, unverified
from fhir_server.auditing.verify import Verifier
from fhir_server.moving import move
from resources.instants import now
from resources.store import RecordChange
from resources.stores.sqlite import SqliteStore
from smart_auth.sealing import Sealer


def changed(position: int) -> Tamper:
    """A byte of an event is another one."""

    def work(connection: apsw.Connection) -> None:
        first, lines = group(connection, position)
        lines[position - first] = lines[position - first].replace(b'"action":"R"', b'"action":"C"')
        put(connection, first, lines)

    return work


def removed(position: int) -> Tamper:
    """A group of two events is gone."""
    return lambda connection: connection.execute("DELETE FROM log WHERE seq = ?", (position,))


def one_removed(position: int) -> Tamper:
    """One of two events in a group is gone; the row says so."""

    def work(connection: apsw.Connection) -> None:
        first, lines = group(connection, position)
        put(connection, first, [line for number, line in enumerate(lines, first) if number != position])

    return work


def swapped(one: int, other: int) -> Tamper:
    """Two rows have each other's contents."""

    def work(connection: apsw.Connection) -> None:
        first, second = group(connection, one)[1], group(connection, other)[1]
        put(connection, one, second)
        put(connection, other, first)

    return work


def renamed_and_swapped(one: int, other: int) -> Tamper:
    """Two rows have each other's contents, and the ids in them are right."""

    def work(connection: apsw.Connection) -> None:
        first, second = group(connection, one)[1], group(connection, other)[1]
        for place, lines, was in ((one, second, other), (other, first, one)):
            put(
                connection,
                place,
                [line.replace(b"event-%d" % (was + n), b"event-%d" % (place + n)) for n, line in enumerate(lines)],
            )

    return work


def unlinked(position: int) -> Tamper:
    """An event has its link cut out."""

    def work(connection: apsw.Connection) -> None:
        first, lines = group(connection, position)
        line = lines[position - first]
        start, end = line.index(b'"extension"'), line.index(b'"meta"')
        lines[position - first] = line[:start] + line[end:]
        put(connection, first, lines)

    return work


def dated(position: int) -> Tamper:
    """The row of a group says another instant than its events."""
    return lambda connection: connection.execute("UPDATE log SET instant = instant + 1000000 WHERE seq = ?", (position,))


def cut(position: int) -> Tamper:
    """Everything from a position on is gone."""
    return lambda connection: connection.execute("DELETE FROM log WHERE seq >= ?", (position,))


def writer(low: int, high: int) -> Tamper:
    """All that one opening wrote is gone."""
    return lambda connection: connection.execute("DELETE FROM log WHERE seq >= ? AND seq < ?", (low, high))


def forged(position: int) -> Tamper:
    """A writer that never was has an event, well formed, in place of another."""

    def work(connection: apsw.Connection) -> None:
        from resources.stores.chain import Chain

        first, _ = group(connection, position)
        [instant] = next(iter(connection.execute("SELECT instant FROM log WHERE seq = ?", (first,))))
        lines = Chain().links().stamp([b'{"resourceType":"AuditEvent","action":"D"}'] * 2, first, instant)
        put(connection, first, lines.split(b"\n"))

    return work


def spoilt(position: int) -> Tamper:
    """A row that cannot be read any more."""
    return lambda connection: connection.execute("UPDATE log SET body = x'00' WHERE seq = ?", (position,))


def no_checkpoint(number: int) -> Tamper:
    """A checkpoint is gone."""
    return lambda connection: connection.execute(
        "DELETE FROM record WHERE kind = 'audit-checkpoint' AND key = ?", (f"{number:012d}",)
    )


def checkpoint_changed(connection: apsw.Connection) -> None:
    """A checkpoint says something else."""
    [value] = next(iter(connection.execute("SELECT value FROM record WHERE kind = 'audit-checkpoint' AND key = '000000000002'")))
    head, payload, signature = value.split(b".")
    changed = bytearray(payload)
    changed[40] = ord("A") if changed[40] != ord("A") else ord("B")
    connection.execute(
        "UPDATE record SET value = ? WHERE kind = 'audit-checkpoint' AND key = '000000000002'",
        (b".".join((head, changed, signature)),),
    )


TAMPERINGS: dict[str, tuple[tuple[Tamper, ...], set[tuple[str, str]]]] = {
    "a byte": ((changed(5),), {("changed", "AuditEvent/event-5")}),
    "the last byte before a checkpoint": ((changed(36),), {("changed", "AuditEvent/event-36")}),
    "a row": ((removed(5),), {("removed", "before AuditEvent/event-8")}),
    "one event of a row": ((one_removed(5),), {("moved", "AuditEvent/event-5")}),
    "a first row": ((removed(14),), {("removed", "before AuditEvent/event-17")}),
    "two rows swapped": ((swapped(5, 8),), {("moved", f"AuditEvent/event-{n}") for n in (5, 6, 8, 9)}),
    "two rows swapped with their ids": ((renamed_and_swapped(5, 8),), {("inserted", "AuditEvent/event-8")}),
    "a link": ((unlinked(8),), {("changed", "AuditEvent/event-8")}),
    "a date": ((dated(8),), {("changed", "AuditEvent/event-8"), ("changed", "AuditEvent/event-9")}),
    "the end of a writer": ((removed(11),), {("removed", "writer")}),
    "the end": ((cut(29),), {("removed", "writer")}),
    "a writer": ((writer(14, 26),), {("removed", "writer")}),
    "a writer that never was": ((forged(11),), {("inserted", "writer"), ("removed", "writer")}),
    "a row nobody can read": ((spoilt(20),), {("unreadable", "AuditEvent/event-20")}),
    "a checkpoint": ((no_checkpoint(3),), {("checkpoint", "checkpoint 3")}),
    "the last checkpoint": ((no_checkpoint(6),), {("checkpoint", "checkpoint 6")}),
    "what a checkpoint says": ((checkpoint_changed,), {("checkpoint", "checkpoint 2")}),
    "an event and the checkpoint over it": (
        (changed(5), no_checkpoint(1)),
        {("changed", "AuditEvent/event-5"), ("checkpoint", "checkpoint 1")},
    ),
}


def told(report: dict[str, Any]) -> set[tuple[str, str]]:
    return {(each["kind"], "writer" if each["where"].startswith("writer ") else each["where"]) for each in report["findings"]}


def test_what_nobody_touched_is_as_it_was_written(history: Path) -> None:
    """All events, writers and checkpoints are counted, and nothing is found."""
    code, report = verified(history)
    assert (code, report["findings"]) == (0, [])
    assert (report["linked"], report["writers"], report["checkpoints"]) == (24, 3, 6)
    assert (report["until"], report["unsigned"], report["before"], report["sent"]) == (36, 0, 0, 0)


@pytest.mark.parametrize("name", TAMPERINGS)
def test_every_tampering_is_found_and_named(history: Path, name: str) -> None:
    """The event, the writer or the checkpoint that it was done to."""
    works, expected = TAMPERINGS[name]
    tamper(history, *works)
    report = examined(history)
    assert report["wrong"] > 0
    assert told(report) >= expected, report["findings"]


def test_what_was_removed_is_named_by_writer_and_number(history: Path) -> None:
    """Also where in the store it stood."""
    tamper(history, removed(5))
    code, report = verified(history)
    [found] = report["findings"]
    assert code == 1
    assert (found["position"], found["number"], len(found["writer"])) == (4, 3, 16)
    assert "numbers 3 to 4" in found["text"]


def test_a_key_that_somebody_put_there_is_not_believed(history: Path) -> None:
    """Who rewrites the checkpoints with a key of their own is found, although all signatures fit."""

    async def rewrite() -> None:
        store = SqliteStore(history / "fhir.db")
        await store.open()
        mine = OKPKey.generate_key("Ed25519")
        for record in await store.records("audit-checkpoint"):
            statement = unverified(record.value.decode())
            token = sign(statement, mine)
            change = change_for(statement, token, None)[0]
            await store.commit((), records=[msgspec.structs.replace(change, expect=record.revision)])
        [kept] = [record for record in await store.records("audit-key") if record.key != "current"]
        forged = msgspec.json.decode(kept.value) | {"public": mine.as_dict(private=False)}
        await store.commit((), records=[msgspec.structs.replace(change, kind="audit-key", key=mine.thumbprint(), expect=0,
                                                                value=msgspec.json.encode(forged))])  # fmt: skip
        await store.close()

    asyncio.run(rewrite())
    report = examined(history)
    assert {each["kind"] for each in report["findings"]} == {"checkpoint", "key"}
    assert len([each for each in report["findings"] if "is not believed" in each["text"]]) == 6


def test_a_thousand_keys_that_somebody_put_there_hide_none(history: Path) -> None:
    """However many there are, all are read: the one that signed is believed, every other one is told."""

    async def crowd() -> None:
        store = SqliteStore(history / "fhir.db")
        await store.open()
        await store.commit((), records=[RecordChange("audit-key", f"!{number}", b"{}") for number in range(1_200)])
        await store.close()

    asyncio.run(crowd())
    report = examined(history)
    assert (report["wrong"], report["checkpoints"]) == (1_200, 6)
    assert {each["kind"] for each in report["findings"]} == {"key"}


def test_a_log_kept_elsewhere_shows_that_the_end_was_cut(history: Path, tmp_path: Path) -> None:
    """Whoever cuts events together with all checkpoints over them, the copy too, leaves no trace in the database; the log has one."""

    def everything_after(connection: apsw.Connection) -> None:
        [value] = next(iter(connection.execute("SELECT value FROM record WHERE key = '000000000004'")))
        connection.execute("DELETE FROM log WHERE seq >= 26")
        connection.execute("DELETE FROM record WHERE kind = 'audit-checkpoint' AND key > '000000000004'")
        connection.execute("UPDATE record SET value = ? WHERE kind = 'audit-checkpoint-newest'", (value,))

    log = tmp_path / "server.log"
    connection = apsw.Connection(str(history / "fhir.db"))
    tokens = [
        value.decode() for (value,) in connection.execute("SELECT value FROM record WHERE kind = 'audit-checkpoint' ORDER BY key")
    ]
    connection.close()
    log.write_text("".join(f'{{"message":"a checkpoint","checkpoint":"{token}"}}\n' for token in tokens))
    tamper(history, everything_after)
    assert examined(history)["wrong"] == 0
    code, report = verified(history, "--anchors", str(log))
    assert (code, report["anchors"]) == (1, 6)
    assert told(report) == {("checkpoint", "checkpoint 5"), ("checkpoint", "checkpoint 6")}


def test_another_secret_believes_nothing(history: Path, tmp_path: Path) -> None:
    """A key file named with --key does, though the stored key has no mark of this secret; that is still told."""
    public = command(history, "keys").stdout
    [key] = msgspec.json.decode(public)["keys"]
    file = tmp_path / "public.pem"
    file.write_bytes(OKPKey.import_key(key).as_pem(private=False))
    assert {each["kind"] for each in examined(history, SECRET[::-1])["findings"]} == {"checkpoint", "key"}
    assert verified(history, "--key", str(file), FHIR_SECRET=SECRET.decode()[::-1])[0] == 0


def test_a_new_key_signs_and_the_old_one_is_still_believed(history: Path) -> None:
    """`rotate-key` is itself recorded; what was signed before is verified as before."""
    assert command(history, "rotate-key").returncode == 0
    asyncio.run(lived(history, 2))
    report = examined(history)
    assert (report["wrong"], report["checkpoints"]) == (0, 7)
    keys = msgspec.json.decode(command(history, "keys").stdout)["keys"]
    assert len(keys) == 2


def test_what_came_after_an_instant_is_verified_alone(history: Path) -> None:
    """`--since` begins at a checkpoint: chains go on from there, and what is wrong behind it is found."""
    asyncio.run(lived(history, 4))
    tamper(history, changed(5), changed(41))
    instant = _made(history, 6)
    code, report = verified(history, "--since", instant)
    assert (code, report["linked"]) == (1, 8)
    assert told(report) == {("changed", "AuditEvent/event-41")}


def test_what_nobody_signed_yet_is_counted(tmp_path: Path) -> None:
    """Events after the last checkpoint; the next start signs them, whoever wrote them."""
    asyncio.run(lived(tmp_path, 4, signed=False))
    report = examined(tmp_path)
    assert (report["wrong"], report["unsigned"], report["checkpoints"]) == (0, 2, 1)
    asyncio.run(lived(tmp_path, 1))
    assert examined(tmp_path)["unsigned"] == 0


@pytest.mark.parametrize("kind", ["sqlite", "mongo", "postgres"])
def test_a_store_that_was_moved_verifies(history: Path, tmp_path: Path, kind: str) -> None:
    """Bytes and positions are the same, and checkpoints and keys come along; it goes on as another writer."""
    (tmp_path / "to").mkdir()

    async def test(place: Setting) -> None:
        source, target = SqliteStore(history / "fhir.db"), KINDS[kind].make(place)
        await source.open()
        await target.open()
        await move(source, target, lambda what, at, end: None)
        await source.close()
        await target.commit((), events=[EVENT])
        checkpoints = Checkpoints(target, await signing_key(target, Sealer(SECRET), None), now, 60)
        assert await checkpoints.make()
        keys, doubtful = await public_keys(target, Sealer(SECRET))
        report = await Verifier(target, keys, {}, Report()).run(lambda at, end: None)
        await target.close()
        assert (report.findings, doubtful, report.linked, report.checkpoints, report.writers) == ([], [], 25, 7, 4)

    with setting(kind, tmp_path / "to") as place:
        asyncio.run(test(place))


def test_what_is_no_store_or_key_is_said_in_one_line(tmp_path: Path) -> None:
    """Exit code 2."""
    done = command(tmp_path, "verify")
    assert done.returncode == 2 and "does not exist" in done.stderr
    asyncio.run(lived(tmp_path, 1))
    (tmp_path / "key.pem").write_text("no key")
    done = command(tmp_path, "verify", "--key", str(tmp_path / "key.pem"))
    assert done.returncode == 2 and "no Ed25519 key" in done.stderr
    done = command(tmp_path, "verify", "--since", "yesterday")
    assert done.returncode == 2 and "no date" in done.stderr


def _made(folder: Path, number: int) -> str:
    from datetime import UTC, datetime

    connection = apsw.Connection(str(folder / "fhir.db"))
    [value] = next(
        iter(connection.execute("SELECT value FROM record WHERE kind = 'audit-checkpoint' AND key = ?", (f"{number:012d}",)))
    )
    connection.close()
    return datetime.fromtimestamp(unverified(value.decode()).made / 1e6, UTC).isoformat()
