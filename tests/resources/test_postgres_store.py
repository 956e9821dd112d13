"""The PostgreSQL store beyond the contract: what is kept and how, who may share a database, what a URL may say."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import asyncpg
import msgspec
import pytest
from contracts.store_harness import Clock
from services.postgres.database import database, execute, with_database

from resources.documents import draft
from resources.store import ABSENT, Change, Conflict, Key, StoreUnavailable, Version
from resources.stores.bodies import Bodies
from resources.stores.postgres import PostgresStore
from resources.stores.postgres.connection import address

EVENT = b'{"resourceType":"AuditEvent","action":"R"}'


@pytest.fixture
def url() -> Iterator[str]:
    """An empty database."""
    with database() as made:
        yield made


def patient(id: str, family: str = "a", **options: Any) -> Change:
    body = msgspec.json.encode({"resourceType": "Patient", "name": [{"family": family}]})
    return Change("Patient", id, draft(body, id), **options)


def on(url: str, test: Callable[[PostgresStore], Awaitable[object]]) -> None:
    """Run a test's coroutine on an open store."""

    async def within() -> None:
        store = PostgresStore(url, clock=Clock())
        await store.open()
        try:
            await test(store)
        finally:
            await store.close()

    asyncio.run(within())


def refusal(url: str) -> str:
    """What a person is told when the store cannot be opened."""

    async def within() -> str:
        store = PostgresStore(url)
        with pytest.raises(StoreUnavailable) as caught:
            await store.open()
        return str(caught.value)

    return asyncio.run(within())


async def rows(url: str, sql: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(sql)]
    finally:
        await connection.close()


async def alone(url: str) -> None:
    """Wait until all other connections to the database have ended: each tells the statistics at its end what it has read."""
    others = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    deadline = time.monotonic() + 60
    while await rows(url, others) != [(0,)]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


SPELLINGS = [
    b'{"resourceType":"Observation","valueQuantity":{"value":72.50}}',
    b'{"resourceType":"Observation","z":1,"a":{"y":2,"b":3},"id":"x"}',
    b'{"resourceType":"Observation","valueQuantity":{"value":1.0E+2},"n":-0,"m":123456789012345678901234567890.10}',
    b'{"resourceType":"Observation","n":1e400000}',
    b'{"resourceType":"Observation","note":[{"text":"a\\u0000b"}]}',
    b'{"resourceType":"Observation","note":[{"text":"\\ud800 alone"}]}',
    '{"resourceType":"Observation","note":[{"text":"\U0001f600 e\u0301 \u202e \ufeff \U0010ffff"}]}'.encode(),
    b'{"resourceType":"Observation","note":[{"text":"\\u00e9 \\/ \\t"}]}',
    b'{"resourceType":"Observation","note":[{"text":"' + b"x" * 3_000_000 + b'"}]}',
    b'{"resourceType":"Observation","d":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
]


@pytest.mark.parametrize("documents", ["bytes", "jsonb"])
def test_a_document_comes_back_as_it_was_spelled(url: str, documents: str) -> None:
    """Digits, order, escapes and size are kept to the byte, also of what jsonb would change or refuse."""

    async def test(store: PostgresStore) -> None:
        sent = []
        for number, body in enumerate(SPELLINGS):
            # the head and tail of a draft as they are, so that nothing on the way can have mended the spelling
            change = Change("Observation", str(number), _raw(body))
            [written] = await store.commit([change])
            sent.append(written.version)
        assert await store.read_many([Key("Observation", str(n)) for n in range(len(SPELLINGS))]) == sent
        for version, body in zip(sent, SPELLINGS, strict=True):
            assert version.body is not None
            assert version.body.endswith(body.removeprefix(b'{"resourceType":"Observation"'))

    on(f"{url}?documents={documents}", test)


def _raw(body: bytes) -> Any:
    return draft(b'{"resourceType":"Observation"}', "1").__class__(
        b'{"resourceType":"Observation","meta":{', b"}" + body.removeprefix(b'{"resourceType":"Observation"')
    )


def test_documents_can_be_queried_in_sql_beside_their_bytes(url: str) -> None:
    """With documents=jsonb the view `resource` has what is current; what jsonb cannot hold is empty there and whole for readers."""

    async def test(store: PostgresStore) -> None:
        await store.commit([patient("1", "old"), patient("2", "gone")])
        await store.commit([patient("1", "new"), Change("Patient", "2", None, method="DELETE")])
        await store.commit([Change("Observation", "3", _raw(SPELLINGS[4]))])
        found = await rows(url, "SELECT type, id, version, document->'name'->0->>'family' FROM fhir.resource ORDER BY id")
        assert found == [("Patient", "1", 2, "new"), ("Observation", "3", 1, None)]
        assert (await rows(url, "SELECT document FROM fhir.doc WHERE id = '3'")) == [(None,)]

    on(f"{url}?documents=jsonb", test)


def test_several_servers_write_one_database(url: str) -> None:
    """Of racers on different servers one wins, positions have no gap, and a follower of the outbox misses nothing."""

    async def test(first: PostgresStore) -> None:
        second = PostgresStore(url, clock=Clock())
        await second.open()
        stores = (first, second)
        await first.commit([patient("shared")])
        told: list[Version] = []

        async def follow() -> None:
            while len(told) < 1 + 80 + 80 + 10:
                after = told[-1].position if told else 0
                told.extend([v async for part in second.outbox(after=after) for v in part])
                await asyncio.sleep(0.001)

        async def write(number: int) -> None:
            await stores[number % 2].commit([patient(f"p{number}", expect=ABSENT)], events=[EVENT])

        async def race(number: int) -> bool:
            for version in range(1, 11):
                while True:
                    current = await stores[number % 2].read("Patient", "shared")
                    assert current is not None
                    if current.version > version:
                        break
                    try:
                        await stores[number % 2].commit([patient("shared", str(number), expect=version)])
                    except Conflict as refused:
                        assert refused.reason == "version"
            return True

        await asyncio.wait_for(asyncio.gather(follow(), *(write(n) for n in range(80)), *(race(n) for n in range(6))), 60)
        assert [v.position for v in told] == list(range(1, 172))
        assert [v.version for v in told if v.id == "shared"] == list(range(1, 12))
        await second.close()

    on(url, test)


def test_servers_that_start_together_make_the_tables_once(url: str) -> None:
    """They take turns, and all of them work."""

    async def within() -> None:
        stores = [PostgresStore(url) for _ in range(6)]
        await asyncio.gather(*(store.open() for store in stores))
        await asyncio.gather(*(store.commit([patient("1")]) for store in stores))
        found = await stores[0].read("Patient", "1")
        assert found is not None and found.version == 6
        await asyncio.gather(*(store.close() for store in stores))

    asyncio.run(within())


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["CREATE SCHEMA fhir", "CREATE TABLE fhir.customers (id int)"], "belongs to another program"),
        (["CREATE SCHEMA fhir", "CREATE TABLE fhir.layout (name text)"], "belongs to another program"),
        (["CREATE SCHEMA fhir", "CREATE TABLE fhir.layout (program text, version int)"], "belongs to another program"),
        (
            ["CREATE SCHEMA fhir", "CREATE TABLE fhir.layout AS SELECT 'fhir-server' AS program, 99 AS version"],
            "written by a newer version (layout 99",
        ),
    ],
)
def test_tables_that_are_not_ours_are_left_alone(url: str, statements: list[str], said: str) -> None:
    """Another program's tables and those of a newer version are refused at start, with what to do."""
    execute(url, *statements)
    assert said in refusal(url)


def test_a_schema_of_another_name_or_an_empty_one_will_do(url: str) -> None:
    """Two stores share a database in two schemas; one that an administrator made beforehand is used."""
    execute(url, "CREATE SCHEMA prepared")

    async def within() -> None:
        stores = [PostgresStore(f"{url}?schema={name}") for name in ("prepared", "user")]
        for number, store in enumerate(stores):
            await store.open()
            await store.commit([patient(str(number))])
        assert await stores[0].read("Patient", "1") is None
        for store in stores:
            await store.close()

    asyncio.run(within())


def test_a_user_without_rights_is_told_what_is_missing(url: str) -> None:
    """Making the schema, and later writing, need rights that are named; the password is in no text."""
    name = url.rpartition("/")[2]
    execute(url, f"CREATE ROLE {name} LOGIN PASSWORD 'Sesam-1'")
    poor = url.replace("postgres@", f"{name}:Sesam-1@")
    try:
        assert "lacks a right" in refusal(poor)
        on(url, lambda store: store.commit([patient("1")]))
        execute(url, f"GRANT USAGE ON SCHEMA fhir TO {name}", f"GRANT SELECT ON ALL TABLES IN SCHEMA fhir TO {name}")

        async def test(store: PostgresStore) -> None:
            assert await store.read("Patient", "1") is not None
            with pytest.raises(StoreUnavailable, match="lacks a right"):
                await store.commit([patient("1")])

        on(poor, test)
    finally:
        execute(url, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def test_a_database_that_is_read_only_says_so(url: str) -> None:
    """Managed services set a full database to read-only; reads go on."""

    async def test(store: PostgresStore) -> None:
        with pytest.raises(StoreUnavailable, match="takes no writes now"):
            await store.commit([patient("2")])
        assert await store.read("Patient", "1") is not None

    on(url, lambda store: store.commit([patient("1")]))
    execute(url, f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_read_only = on")
    on(url, test)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda url: with_database(url, "not_there"), "does not exist"),
        (lambda url: url.replace("postgres@", "nobody-known:Sesam-1@"), "refused the user or the password"),
        (
            lambda url: "postgresql://me:Sesam-1@127.0.0.1:1/fhir",
            "PostgreSQL at 127.0.0.1:1/fhir cannot be reached; check FHIR_STORE_URL",
        ),
        (lambda url: "postgresql://me:Sesam-1@host.invalid/fhir", "PostgreSQL at host.invalid/fhir cannot be reached"),
        (lambda url: f"{url}?sslmode=perhaps", "none that PostgreSQL's driver takes"),
        (lambda url: f"{url}?sslmode=verify-full&sslrootcert=/none/ca.pem", "is not there or may not be read"),
        (lambda url: f"{url}?work_memory=1", "parameter that PostgreSQL does not know"),
        (lambda url: f"{url}?sslmode=require", "offers no TLS connection"),
    ],
)
def test_a_server_that_cannot_be_used_is_named_without_secrets(
    url: str, caplog: pytest.LogCaptureFixture, change: Callable[[str], str], said: str
) -> None:
    """Who starts the server reads what is wrong; neither the sentence nor the log has the password."""
    with caplog.at_level(logging.DEBUG):
        text = refusal(change(url))
    assert said in text
    assert "Sesam-1" not in text + caplog.text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("mysql://h/d", "begins with postgresql://"),
        ("postgresql://h/d?schema=Fhir", "schema="),
        ("postgresql://h/d?schema=pg_x", "schema="),
        ("postgresql://h/d?schema=x;drop", "schema="),
        ("postgresql://h/d?pool_size=1", "pool_size="),
        ("postgresql://h/d?pool_size=many", "pool_size="),
        ("postgresql://h/d?prepared=maybe", "prepared="),
        ("postgresql://h/d?documents=xml", "documents="),
        ("postgresql://[h/d", "is no URL"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(given: str, said: str) -> None:
    """The sentence names the part that is wrong."""
    with pytest.raises(StoreUnavailable, match=said):
        PostgresStore(given)


def test_what_the_driver_knows_stays_in_the_url() -> None:
    """Only our own options are taken out; passwords are not touched, nor shown."""
    read = address("postgres://u:p%40ss@a:1,b:2/d?sslmode=verify-full&schema=s_1&sslrootcert=/etc/ca.pem&pool_size=3&prepared=off")
    assert read.dsn == "postgres://u:p%40ss@a:1,b:2/d?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem"
    assert (read.shown, read.schema, read.size, read.prepared) == ("a:1,b:2/d", "s_1", 3, False)


@pytest.mark.parametrize(
    ("given", "exposed"),
    [
        ("postgresql://u@db.example/d", True),
        ("postgresql://u@db.example/d?sslmode=prefer", True),
        ("postgresql://u@localhost,db.example/d", True),
        ("postgresql://u@db.example/d?sslmode=require", False),
        ("postgresql://u@db.example:1,b:2/d?sslmode=verify-full", False),
        ("postgresql://u@127.0.0.1:5432/d", False),
        ("postgresql://u@[::1]:5432/d", False),
        ("postgresql:///d?host=/run/postgresql", False),
        ("postgresql:///d", False),
    ],
)
def test_an_unencrypted_way_over_a_network_is_noticed(given: str, exposed: bool) -> None:
    """The log warns of it at start."""
    assert address(given).exposed is exposed


@pytest.mark.parametrize("options", ["?pool_size=2", "?prepared=off&pool_size=2"])
def test_many_requests_share_few_connections(url: str, options: str) -> None:
    """Reads and writes wait for each other's connections and all are answered; no statement need stay prepared."""

    async def test(store: PostgresStore) -> None:
        await asyncio.gather(*(store.commit([patient(str(n))]) for n in range(100)), *(store.position() for _ in range(200)))
        found = await asyncio.gather(*(store.read("Patient", str(n)) for n in range(100)))
        assert all(found)

    on(url + options, test)


def test_names_that_nothing_can_have_are_not_found(url: str) -> None:
    """Whatever comes in a URL, it is not there; no database error."""

    async def test(store: PostgresStore) -> None:
        for name in ("a\0b", "é", "\ud800", "x" * 10_000):
            assert await store.read("Patient", name) is None
            assert await store.read_version(name, "1", 1) is None
            assert await store.read_many([Key("Patient", name)]) == [None]
            assert (await store.history("Patient", name, before=1 << 70)).versions == []
            assert await store.count_history(name, None) == 0
        assert await store.read_version("Patient", "1", 1 << 40) is None

    on(url, test)


FILL = """
INSERT INTO fhir.doc SELECT n, 1700000000000000 + n * 1000, 1,
    CASE WHEN n % 5000 = 0 THEN 'Rare' WHEN n % 3 = 0 THEN 'Patient' ELSE 'Basic' END, 'i' || n, 'PUT', '\\xBODY'
    FROM generate_series(1, 40000) n;
INSERT INTO fhir.log SELECT 40000 + n, 1700000041000000, 1, 'x' FROM generate_series(1, 10000) n;
UPDATE fhir.counter SET position = 50000, instant = 1700000041000000;
ANALYZE fhir.doc, fhir.log
"""
MOMENT = 1_700_000_005_000_000
PAGES: dict[str, Callable[[PostgresStore], Awaitable[Any]]] = {
    "read": lambda store: store.read("Patient", "i9000"),
    "read_many": lambda store: store.read_many([Key("Patient", f"i{n}") for n in range(3, 300, 3)]),
    "system": lambda store: store.history(None, None, before=20_000),
    "system since": lambda store: store.history(None, None, since=MOMENT),
    "system at": lambda store: store.history(None, None, at=(MOMENT, MOMENT + 10_000_000)),
    "type": lambda store: store.history("Patient", None, before=30_000),
    "rare type": lambda store: store.history("Rare", None),
    "type since": lambda store: store.history("Patient", None, since=MOMENT),
    "rare type since": lambda store: store.history("Rare", None, since=MOMENT),
    "type at": lambda store: store.history("Patient", None, at=(MOMENT, MOMENT + 10_000_000)),
    "scan": lambda store: store._reader.scan(None, 30_000, 100, (0, 1)),
    "scan type": lambda store: store._reader.scan("Rare", 30_000, 100, (0, 1)),
    "count of one": lambda store: store.count_history("Patient", "i9"),
    "count of some": lambda store: store.count_history(None, None, since=MOMENT + 34_000_000),
}


@pytest.mark.parametrize("planning", ["force_generic_plan", "force_custom_plan"])
def test_pages_read_what_they_show_and_little_more(url: str, planning: str) -> None:
    """However the planner reads its statistics, no page sorts or walks a whole table: rows read are counted by the server itself."""
    on(url, lambda store: store.position())
    execute(url, *FILL.replace("BODY", Bodies().pack(b"{}").hex()).split(";"))
    read = {}
    for name, page in PAGES.items():
        asyncio.run(alone(url))
        execute(url, "SELECT pg_stat_reset()")
        on(f"{url}?plan_cache_mode={planning}", page)
        asyncio.run(alone(url))
        counted = (
            "SELECT sum(seq_tup_read)::int + (SELECT sum(idx_tup_read)::int FROM pg_stat_user_indexes) FROM pg_stat_user_tables"
        )
        read[name] = asyncio.run(rows(url, counted))[0][0]
    assert all(read.values())
    assert {name: number for name, number in read.items() if number > 3_000} == {}


def test_an_event_that_is_none_harms_no_other_commit(url: str) -> None:
    """Of the commits that were written together, the others are kept."""

    async def test(store: PostgresStore) -> None:
        answers = await asyncio.gather(
            store.commit([patient("1")]),
            store.commit([patient("2")], events=[b"no event"]),
            store.commit([patient("3")], events=[EVENT]),
            return_exceptions=True,
        )
        assert isinstance(answers[1], ValueError)
        found = await store.read_many([Key("Patient", str(n)) for n in (1, 2, 3)])
        assert [v is not None for v in found] == [True, False, True]

    on(url, test)


def test_commits_are_durable_though_the_user_has_asked_for_less(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """synchronous_commit is switched on for our commits where a role or a database has it off."""
    execute(url, f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = off")
    on(url, lambda store: store.commit([patient("1")]))
    telling = "RAISE EXCEPTION '%', current_setting('synchronous_commit')"
    execute(
        url,
        f"CREATE FUNCTION fhir.tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {telling}; END $$",
        "CREATE TRIGGER tell BEFORE INSERT ON fhir.doc FOR EACH ROW EXECUTE FUNCTION fhir.tell()",
    )

    async def test(store: PostgresStore) -> None:
        with pytest.raises(StoreUnavailable):
            await store.commit([patient("2")])

    on(url, test)
    assert "RaiseError P0001: on" in caplog.text
