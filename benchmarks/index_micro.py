"""Microseconds of CPU that the SQLite index costs: writing in groups, replacing, deleting, and the usual searches.

    python -m benchmarks.index_micro [PATIENTS …]       (default: 3000 and 30000; each Patient has nine Observations)

Values are made up but spread as in a practice: names of a few hundred, 1 in 30 Observations of a code, dates over ten years.
"""

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import apsw

from resources.stores.participant import Applied
from search.extract import Extractor
from search.indexes.sqlite.index import SqliteIndex
from search.parameters import registry
from search.parse import parse
from search.query import Query

BASE = "http://here/fhir"
PARAMETERS = registry()
EXTRACTOR = Extractor(PARAMETERS, BASE)
DAY = 86_400
SEARCHES = {
    "one hit by identifier": "Patient?identifier=urn:mrn|{patient}",
    "people (prefix, gender, birth dates)": "Patient?name=na{three}&gender=female&birthdate=ge1950-01-01&birthdate=lt1990-01-01",
    "patient, date, status": "Observation?patient=Patient/{patient}&date=ge2016-01-01&status=final",
    "patient, code, newest first": "Observation?patient=Patient/{patient}&code=c{code}&_sort=-date",
    "code, first page, no total": "Observation?code=c{code}&_total=none",
    "code, first page, total": "Observation?code=c{code}",
    "all of a type, no total": "Observation?_total=none",
    "people by family name, no total": "Patient?_sort=family&_total=none",
    "last updated, no total": "Observation?_sort=-_lastUpdated&_total=none",
}


def people(count: int) -> Iterator[tuple[str, dict[str, object]]]:
    """Patients and their Observations."""
    chance = random.Random(7)
    for n in range(count):
        names = {"family": f"Fa{chance.randrange(500)}", "given": [f"Na{chance.randrange(800)}", f"Na{chance.randrange(800)}"]}
        birth = f"{1930 + chance.randrange(90)}-{1 + chance.randrange(12):02d}-{1 + chance.randrange(28):02d}"
        yield (
            "Patient",
            {
                "resourceType": "Patient",
                "id": f"{n}",
                "identifier": [{"system": "urn:mrn", "value": f"{n}"}],
                "name": [names],
                "gender": chance.choice(["female", "male"]),
                "birthDate": birth,
                "telecom": [{"system": "phone", "value": f"555-{n}"}],
                "address": [
                    {"line": [f"{n} Road"], "city": f"City{chance.randrange(100)}", "postalCode": f"{chance.randrange(9999):04d}"}
                ],
            },
        )
        for m in range(9):
            when = f"{2014 + chance.randrange(10)}-{1 + chance.randrange(12):02d}-{1 + chance.randrange(28):02d}T10:00:00Z"
            yield (
                "Observation",
                {
                    "resourceType": "Observation",
                    "id": f"{n}-{m}",
                    "status": chance.choice(["final", "final", "final", "amended"]),
                    "category": [{"coding": [{"system": "urn:cat", "code": chance.choice(["vital-signs", "laboratory"])}]}],
                    "code": {"coding": [{"system": "urn:loinc", "code": f"c{chance.randrange(30)}"}]},
                    "subject": {"reference": f"Patient/{n}"},
                    "encounter": {"reference": f"Encounter/{n}-{m // 3}"},
                    "effectiveDateTime": when,
                    "valueQuantity": {"value": chance.randrange(2000) / 10, "system": "urn:ucum", "code": "mg/dL", "unit": "mg/dL"},
                },
            )


def changes(count: int) -> Iterator[Applied]:
    for row, (type, document) in enumerate(people(count), 1):
        entry = EXTRACTOR.extract(type, document)
        yield Applied(row, type, str(document["id"]), 1_700_000_000_000_000 + row * 1000, entry, True, True)


def report(name: str, micros: float, unit: str) -> None:
    print(f"  {name:<42}{micros:>9.1f} us {unit}")


def timed(work: Callable[[], object]) -> float:
    """CPU microseconds."""
    start = time.process_time()
    work()
    return (time.process_time() - start) * 1e6


def commit(connection: apsw.Connection, index: SqliteIndex, group: Sequence[Applied]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    index.write(connection, group)
    connection.execute("COMMIT")


def writing(connection: apsw.Connection, index: SqliteIndex, found: Sequence[Applied]) -> None:
    """Insert, replace and delete in groups, the last of `found` first inserted."""
    rest = list(found)
    random.Random(3).shuffle(rest)
    for size, amount in ((1, 300), (20, 1000), (200, 3000)):
        part, rest = rest[:amount], rest[amount:]
        groups = [part[n : n + size] for n in range(0, len(part), size)]
        micros = timed(lambda groups=groups: [commit(connection, index, group) for group in groups])  # type: ignore[misc]
        report(f"insert, groups of {size}", micros / len(part), "a document")
    for name, change in (
        ("replace, nothing changed", lambda a: a._replace(new=False, created=False, instant=a.instant + 1)),
        ("replace, another code", _recoded),
        ("delete", lambda a: a._replace(new=False, created=False, entry=None, live=False)),
    ):
        changed = [change(a) for a in part[:400]]
        groups = [changed[n : n + 20] for n in range(0, len(changed), 20)]
        micros = timed(lambda groups=groups: [commit(connection, index, group) for group in groups])  # type: ignore[misc]
        report(f"{name}, groups of 20", micros / len(changed), "a document")


def _recoded(change: Applied) -> Applied:
    """The same document with another status or gender."""
    code = "status" if change.type == "Observation" else "gender"
    values = {**change.entry.values, code: [change.entry.values[code][0]._replace(code="entered-in-error")]}
    entry = type(change.entry)(values, change.entry.date, change.entry.patients)
    return change._replace(new=False, created=False, entry=entry, instant=change.instant + 2)


def events(connection: apsw.Connection, index: SqliteIndex) -> None:
    """What an AuditEvent costs that the store wrote itself, from its bytes on, in batches."""
    start = 1 << 48
    bodies = [_event(n) for n in range(6000)]

    def run() -> None:
        for first in range(0, len(bodies), 2000):
            group = [
                Applied(
                    start + n,
                    "AuditEvent",
                    f"event-{n}",
                    1_700_000_000_000_000 + n,
                    index.prepare("AuditEvent", bodies[n]),
                    True,
                    True,
                )
                for n in range(first, first + 2000)
            ]
            commit(connection, index, group)

    report("AuditEvents, batches of 2000", timed(run) / len(bodies), "an event")
    prepare = timed(lambda: [index.prepare("AuditEvent", body) for body in bodies])
    report("  of which to prepare", prepare / len(bodies), "an event")


def _event(n: int) -> bytes:
    return (
        b'{"resourceType":"AuditEvent","id":"event-%d","meta":{"versionId":"1","lastUpdated":"2026-01-01T00:00:00.000Z"},'
        b'"type":{"system":"http://terminology.hl7.org/CodeSystem/audit-event-type","code":"rest"},'
        b'"subtype":[{"system":"http://hl7.org/fhir/restful-interaction","code":"read"}],"action":"R",'
        b'"recorded":"2026-01-01T%02d:%02d:00.000Z","outcome":"0",'
        b'"agent":[{"who":{"identifier":{"value":"user-%d"}},"requestor":true,"network":{"address":"127.0.0.1","type":"2"}}],'
        b'"source":{"observer":{"display":"fhir-server"}},"entity":[{"what":{"reference":"Patient/%d"}}]}'
    ) % (n, n // 60 % 24, n % 60, n % 10, n % 3000)


async def searching(index: SqliteIndex, count: int) -> None:
    await index.open()
    chance = random.Random(5)
    for name, text in SEARCHES.items():
        found = [_query(text, chance, count) for _ in range(200)]
        hits = sum([len((await index.search(query)).keys) for query in found]) / len(found)
        start = time.process_time()
        for query in found:
            await index.search(query)
        micros = (time.process_time() - start) * 1e6 / len(found)
        report(name, micros, f"a search ({hits:.0f} hits)")
    await index.close()


def _query(text: str, chance: random.Random, count: int) -> Query:
    filled = text.format(patient=chance.randrange(count), code=chance.randrange(30), three=chance.randrange(100, 800))
    type, _, rest = filled.partition("?")
    return parse(type, rest, parameters=PARAMETERS, base_url=BASE).query


def main(count: int) -> None:
    """One round with `count` Patients."""
    total = count * 10
    print(f"{count} patients, {total} documents")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.sqlite"
        connection = apsw.Connection(str(path), statementcachesize=200)
        pragmas = "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 8000; PRAGMA cache_size = -64000"
        connection.execute(f"PRAGMA journal_mode = WAL; {pragmas}")
        index = SqliteIndex(path, PARAMETERS, EXTRACTOR)
        connection.execute("BEGIN IMMEDIATE")
        index.install(connection)
        connection.execute("COMMIT")
        found = changes(count)
        micros, filled = 0.0, 0
        while filled + 2000 <= total - 4300:
            group = list(islice(found, 2000))
            micros += timed(lambda group=group: commit(connection, index, group))  # type: ignore[misc]
            filled += len(group)
        report("fill, groups of 2000", micros / filled, "a document")
        asyncio.run(searching(index, filled // 10))
        writing(connection, index, list(found))
        events(connection, index)
        print(f"  {path.stat().st_size / total:.0f} bytes a document")
        connection.close()


if __name__ == "__main__":
    for argument in sys.argv[1:] or ["3000", "30000"]:
        main(int(argument))
