"""Sources that change, fall silent, end early, or are larger than they seem; a store that is away: what was stored stays, nothing comes
twice, and memory does not grow."""

import asyncio
import gzip
import ssl
import threading
import tracemalloc
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard
from api.conftest import Running
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from importing.giving import KICK_OFF, Giving, begin, giving, imported, ndjson, patients

from fhir_server.config import Settings
from fhir_server.importing import fetching, kind, pace, unpacking
from fhir_server.importing.fetching import Fetching
from fhir_server.importing.sources import Sources
from fhir_server.jobs import runner
from fhir_server.jobs.work import Failed
from resources.store import StoreUnavailable
from resources.stores.sqlite import SqliteStore

LINE = 1_000_000


@pytest.fixture(scope="module")
def client(source: Giving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = Path(tmp_path_factory.mktemp("bad"))
    server = Running(
        folder, import_sources=f"{source.root}/", max_body=LINE, import_max_size=3 * LINE, rate_limit_polls="off", jobs_at_once=1000
    )
    server.start()
    with httpx.Client(base_url=f"{server.root}/fhir/", timeout=30) as made:
        yield made
    server.stop()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried soon."""
    monkeypatch.setattr(pace, "PAUSE", 0.02)
    monkeypatch.setattr(runner, "PAUSE", 0.1)


def certificate(folder: Path, address: str) -> tuple[Path, Path]:
    """A certificate for an address that vouches for itself, and its key, as files."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "files")])
    building = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now - timedelta(1), now + timedelta(1)
    )
    for extension in (x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), x509.BasicConstraints(True, None)):
        building = building.add_extension(extension, critical=False)
    cert, secret = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(building.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    secret.write_bytes(key.private_bytes(*form))
    return cert, secret


def refused(client: httpx.Client, source: Giving, name: str, content: bytes | None = None) -> tuple[int, str, str]:
    """Status, code and text of what an import of Patients failed with."""
    if content is not None:
        source.files[name] = content
    response = imported(client, [("Patient", f"{source.root}/{name}?sig=secret")])
    assert response.status_code >= 400 and "secret" not in response.text, response.text
    issue = response.json()["issue"][0]
    return response.status_code, issue["code"], issue["details"]["text"]


def zstd_bomb(size: int) -> bytes:
    """A few kilobytes that come to so many bytes of one line."""
    return zstandard.ZstdCompressor(level=3).compress(b'{"resourceType":"Patient"' + b" " * size)


def gzip_bomb(size: int) -> bytes:
    """The same, packed otherwise."""
    packing = zlib.compressobj(9, wbits=31)
    return packing.compress(b'{"resourceType":"Patient"' + b" " * size) + packing.flush()


@pytest.mark.parametrize(
    ("name", "content", "code", "text"),
    [
        ("array", b'[{"resourceType":"Patient","id":"a"}]', "structure", "not NDJSON"),
        ("binary", bytes(range(1, 256)) * 10, "structure", "not NDJSON"),
        ("bomb.gz", gzip_bomb(200_000_000), "too-long", f"more than {LINE} bytes in line 1"),
        ("bomb.zst", zstd_bomb(200_000_000), "too-long", f"more than {LINE} bytes in line 1"),
        (
            "large.gz",
            gzip.compress(b"\n".join([b'{"resourceType":"Group"}'] + [b" " * 999] * 5_000)),
            "too-long",
            "FHIR_IMPORT_MAX_SIZE",
        ),
        ("spoilt.gz", b"\x1f\x8b" + b"nothing" * 10, "invalid", "not packed as it says"),
        ("spoilt.zst", b"\x28\xb5\x2f\xfd" + b"nothing" * 10, "invalid", "not packed as it says"),
        ("short.gz", ndjson(patients(0, 50), packed=True)[:-20], "incomplete", "ends early"),
        ("short.zst", zstandard.compress(ndjson(patients(0, 50)))[:-5], "incomplete", "ends early"),
    ],
)
def test_contents(client: httpx.Client, source: Giving, name: str, content: bytes, code: str, text: str) -> None:
    """The import fails with its reason, and names the input without its signature."""
    _, found, told = refused(client, source, name, content)
    assert found == code and text in told and name in told


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress, bytes])
def test_packed_files(client: httpx.Client, source: Giving, pack: Any) -> None:
    """Gzip and Zstandard, also in several members, by whatever name."""
    half = pack(ndjson(patients(9_000, 100)))
    source.files["packed"] = half + pack(ndjson(patients(9_100, 100)))
    assert imported(client, [("Patient", f"{source.root}/packed")]).json()["output"][0]["count"] == 200


@pytest.mark.parametrize("packing", [gzip_bomb, zstd_bomb])
def test_bombs_are_unpacked_in_pieces(packing: Any) -> None:
    """However much comes of a byte, no more than some megabytes are in memory at a time."""
    bomb = packing(100_000_000)
    tracemalloc.start()
    stream = unpacking.unpacker(unpacking.packing_of(bomb))
    size = sum(len(piece) for start in range(0, len(bomb), 65_536) for piece in stream.give(bomb[start : start + 65_536]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 100_000_000 and peak < 12_000_000


def test_an_endless_line_takes_no_more_memory_than_the_limit(source: Giving) -> None:
    """The connection is closed once the line is longer than it may be."""
    source.streams["line"] = chain([b'{"resourceType":"Patient","id":"'], repeat(b"x" * 100_000))
    reading = Fetching(f"{source.root}/line", Sources.of(Settings(import_sources=f"{source.root}/")), 20 * LINE, 10**12)

    async def read() -> None:
        async for _ in reading.lines():
            raise AssertionError("there is no whole line")

    tracemalloc.start()
    with pytest.raises(Failed, match="in line 1"):
        asyncio.run(read())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 70 * LINE


def test_what_is_cut_off_again_and_again(client: httpx.Client, source: Giving) -> None:
    """Where no line comes any more it is given up; the lines before are stored."""
    source.files["gone"], source.cuts["gone"] = ndjson(patients(20_000, 400)), 1_000
    _, code, text = refused(client, source, "gone")
    assert code == "incomplete" and "was cut off behind line 399" in text
    assert client.get("Patient/p20100").status_code == 200


def test_a_source_that_is_busy(client: httpx.Client, source: Giving) -> None:
    """It is asked again, with pauses that double: half a minute in all. What it said in the end is told, not that something was cut off."""
    source.files["busy"] = source.files["closed"] = ndjson(patients(25_000, 3))
    source.busy.update(busy=6, closed=1_000)  # one of them is asked before it is read
    assert imported(client, [("Patient", f"{source.root}/busy")]).json()["output"][0]["count"] == 3
    status, code, text = refused(client, source, "closed")
    assert (status, code) == (502, "incomplete") and text.endswith("/data/closed cannot be read: it answers 503")
    assert pace.pause(pace.CutOff("it answers 503", "100000"), 1) == pace.LONGEST_PAUSE


def test_nobody_at_an_address(source: Giving) -> None:
    """Where nothing can be connected to, that is what is told."""
    closed = Fetching("http://127.0.0.1:1/p", Sources.of(Settings(import_sources="http://127.0.0.1:1/")), LINE, LINE)

    async def read() -> None:
        async for _ in closed.lines():
            raise AssertionError("there is no line")

    with pytest.raises(Failed, match="cannot be read: it cannot be connected to"):
        asyncio.run(read())


@pytest.mark.parametrize("tagged", [True, False])
def test_what_changes_between_portions(client: httpx.Client, source: Giving, tagged: bool) -> None:
    """Another ETag, or instant of change, is another file: its lines are not the rest of the first."""
    source.tags.clear()
    source.untagged = set() if tagged else {"changing"}
    source.files["changing"], source.cuts["changing"] = ndjson(patients(30_000, 900)), 1
    source.changing.add("changing")
    status, code, text = refused(client, source, "changing")
    assert (status, code) == (409, "conflict") and "has changed since line" in text


def test_a_source_that_falls_silent(client: httpx.Client, source: Giving, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as cut off, and is asked again for the rest."""

    over = threading.Event()

    class Stalled:
        def __iter__(self) -> Iterator[bytes]:
            yield ndjson(patients(40_000, 3))
            over.wait(120)

    monkeypatch.setattr(fetching, "SILENCE", 0.3)
    source.streams["silent"] = Stalled()
    _, code, text = refused(client, source, "silent")
    over.set()
    assert code == "incomplete" and "behind line 3" in text


@pytest.mark.parametrize("uncertain", [False, True])
def test_a_store_that_is_away_in_the_middle(
    client: httpx.Client, source: Giving, monkeypatch: pytest.MonkeyPatch, uncertain: bool
) -> None:
    """The import waits for it and goes on: each line is one version, also where nobody knew whether a commit had been kept."""
    real, failing = SqliteStore.commit, iter([False, True, True, False, True])

    async def commit(self: SqliteStore, changes: Any, **more: Any) -> Any:
        fail = bool(changes) and next(failing, False)
        found = None if fail and not uncertain else await real(self, changes, **more)
        if fail:
            raise StoreUnavailable("The disk is away.", uncertain=uncertain)
        return found

    monkeypatch.setattr(SqliteStore, "commit", commit)
    first = 50_000 + 10_000 * uncertain
    source.files["away"] = ndjson(patients(first, 1_000))
    told = imported(client, [("Patient", f"{source.root}/away")], mode="keep-history").json()
    assert told["output"][0]["extension"] == {"written": 1_000, "unchanged": 0}
    versions = [client.get(f"Patient/p{number}").json()["meta"]["versionId"] for number in range(first, first + 1_000, 37)]
    assert set(versions) == {"1"}


@pytest.mark.parametrize("ranges", [True, False])
def test_ranges_of_a_large_file(client: httpx.Client, source: Giving, monkeypatch: pytest.MonkeyPatch, ranges: bool) -> None:
    """Each line is read once, wherever ranges meet, and wrong lines have their numbers in the whole file."""
    monkeypatch.setattr(kind, "RANGE", 10_007)
    lines = ndjson(patients(70_000, 1_500, active=True)).splitlines()
    for number in (0, 700, 1_499):
        lines[number] = b'{"resourceType":"Patient","id":"w","birthDate":"x"}'
    name = "ranges" if ranges else "whole"
    source.files[name] = b"\n".join(lines)
    source.without_ranges.update(() if ranges else ("whole",))
    told = imported(client, [("Patient", f"{source.root}/{name}")]).json()
    assert told["output"][0]["count"] == 1_497 and told["error"][0]["count"] == 3
    found = [line.rpartition(" line ")[2].partition('"')[0] for line in client.get(told["error"][0]["url"]).text.splitlines()]
    assert found == ["1", "701", "1500"]
    asked = {range for given, range in source.asked if given == name}
    assert len(asked) == (2 if not ranges else 1 + -(-len(source.files[name]) // 10_007))


def test_a_line_longer_than_a_range(client: httpx.Client, source: Giving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges within which no line begins have none."""
    monkeypatch.setattr(kind, "RANGE", 1_000)
    long = patients(80_000, 3, name=[{"family": "x" * 9_000}])
    source.files["long"] = ndjson([*patients(80_010, 5), *long, *patients(80_020, 5)])
    assert imported(client, [("Patient", f"{source.root}/long")]).json()["output"][0]["count"] == 13


def test_a_manifest_as_parameters(client: httpx.Client, source: Giving) -> None:
    """The same names; what has no meaning is refused."""
    source.files["few"] = ndjson(patients(90_000, 2))
    named = [("inputFormat", "valueCode", "application/fhir+ndjson"), ("inputSource", "valueUri", "https://other.example.org")]
    parameters: list[dict[str, Any]] = [{"name": name, kind: value} for name, kind, value in named]
    parts = [{"name": "type", "valueCode": "Patient"}, {"name": "url", "valueUrl": f"{source.root}/few"}]
    parameters += [{"name": "input", "part": parts}, {"name": "storageDetail", "part": [{"name": "type", "valueCode": "https"}]}]
    headers = {"Prefer": "respond-async", "Content-Type": "application/fhir+json"}
    body = {"resourceType": "Parameters", "parameter": parameters}
    response = client.post("$import", json=body, headers=headers)
    assert response.status_code == 202, response.text
    for wrong in (
        {"name": "wrong", "valueString": "x"},
        parameters[0],
        {"name": "input", "part": [{"name": "etag", "valueString": "x"}]},
    ):
        response = client.post("$import", json=body | {"parameter": [*parameters, wrong]}, headers=headers)
        assert response.status_code == 400 and "Parameters.parameter[4]" in response.text


def test_https(tmp_path: Path) -> None:
    """A certificate is checked: that of an authority of one's own is trusted once the settings name it, and nothing is sent before."""
    cert, key = certificate(tmp_path, "127.0.0.1")
    other = tmp_path / "other"
    other.mkdir()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with giving(context) as source:
        source.files["p"] = ndjson(patients(0, 3))
        prefixes = f"{source.root}/"

        async def read(settings: Settings) -> int:
            return len([line async for line in Fetching(f"{source.root}/p", Sources.of(settings), LINE, LINE).lines()])

        with pytest.raises(Failed, match="cannot be read: its certificate is not trusted"):
            asyncio.run(read(Settings(import_sources=prefixes)))
        with pytest.raises(Failed, match="cannot be read: its certificate is not trusted"):
            asyncio.run(read(Settings(import_sources=prefixes, import_ca_file=certificate(other, "127.0.0.1")[0])))
        assert source.asked == []
        assert asyncio.run(read(Settings(import_sources=prefixes, import_ca_file=cert))) == 3


@pytest.mark.parametrize("address", ["http://169.254.169.254/latest", "http://10.0.0.1/", "file:///etc/passwd"])
def test_redirects_lead_nowhere(client: httpx.Client, source: Giving, address: str) -> None:
    """Wherever they point."""
    source.redirects["moved"] = address
    status, code, text = refused(client, source, "moved")
    assert (status, code) == (502, "security") and "redirects are not followed" in text and address not in text


def test_nothing_is_begun_for_a_bad_manifest(client: httpx.Client) -> None:
    """What is no JSON, and JSON that is no manifest."""
    for body in (b"", b"nothing", b"[]", b'"x"', b"{}", b'{"resourceType":"Parameters","parameter":{}}', b"[" * 100_000):
        response = client.post("$import", content=body, headers={"Prefer": "respond-async", "Content-Type": "application/json"})
        assert response.status_code == 400, (body[:20], response.text)
    assert begin(client, []).status_code == 400


def test_the_place_of_files_is_a_source(source: Giving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies below `incoming` is read, in ranges too; files of jobs, and what is outside, are not."""
    monkeypatch.setattr(kind, "RANGE", 5_003)
    incoming = tmp_path / "files" / "incoming"
    incoming.mkdir(parents=True)
    (incoming / "p.ndjson").write_bytes(ndjson(patients(0, 500)) + b'{"resourceType":"Patient"}\n')
    (incoming / "more.ndjson.zst").write_bytes(zstandard.compress(ndjson(patients(500, 500))))
    (tmp_path / "files" / "job").mkdir()
    (tmp_path / "files" / "job" / "p.ndjson").write_bytes(ndjson(patients(0, 1)))
    server = Running(tmp_path, import_sources="files:/incoming/")
    server.start()
    with httpx.Client(base_url=f"{server.root}/fhir/", timeout=30) as client:
        inputs = [("Patient", f"files:/incoming/{name}") for name in ("p.ndjson", "more.ndjson.zst")]
        told = imported(client, inputs, storageDetail={"type": "file"}).json()
        assert [each["count"] for each in told["output"]] == [500, 500] and told["error"][0]["count"] == 1
        assert "p.ndjson line 501" in client.get(told["error"][0]["url"]).text
        missing = imported(client, [("Patient", "files:/incoming/none")])
        assert missing.status_code == 502 and "not in the place of files" in missing.text
        for name in ("files:/job/p.ndjson", "files:/incoming/../job/p.ndjson", "files:/incoming/.x", "files://h/incoming/p.ndjson",
                     "files:/incoming/%2e%2e/job/p.ndjson", "files:/incomings/x", f"{source.root}/p"):  # fmt: skip
            assert begin(client, [("Patient", name)]).status_code == 400, name
    server.stop()


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"Mode": "create"}, "Mode"),
        ({"storageDetail": {"type": "https", "wrong": 1}}, "wrong"),
        ({"input": [{"etag": "x"}]}, "etag"),
    ],
)
def test_what_a_manifest_has_beside_what_is_known(client: httpx.Client, source: Giving, more: dict[str, Any], name: str) -> None:
    """A misspelt mode must not make of an import that only creates one that overwrites: whatever has no meaning is refused by its name."""
    input = {"type": "Patient", "url": f"{source.root}/few"}
    body: dict[str, Any] = {"inputFormat": "application/fhir+ndjson", "inputSource": "https://other.example.org", "input": [input]}
    body |= more if "input" not in more else {"input": [input | more["input"][0]]}
    response = client.post("$import", json=body, headers=KICK_OFF)
    assert response.status_code == 400 and f"unknown field `{name}`" in response.text
