"""What happens to a server when its Elasticsearch is killed, slow or gone, and when the server itself is killed: nothing is lost."""

import asyncio
import json
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from indexing.feed_harness import sweep
from indexing.serving import Process, SlowWay, processes
from services.mongo.database import database
from services.running import own_server, service


def settled(process: Process, text: str, expected: int, seconds: float = 60.0) -> None:
    """Wait until a search finds as many as it should, whatever it says before that."""
    deadline = time.monotonic() + seconds
    while True:
        answer = process.client.get(text)
        if answer.status_code == 200 and answer.json()["total"] == expected:
            return
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.2)


def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_elasticsearch_is_killed_while_it_is_written_to_and_searched(tmp_path: Path) -> None:
    """Beside MongoDB: searches say 503 with Retry-After at once, reads and writes go on, and once it is back nothing is missing."""
    with own_server("elasticsearch", tmp_path / "es") as elastic, database() as store:
        process = Process(tmp_path, FHIR_STORE_URL=store, FHIR_SEARCH_URL=elastic.url, FHIR_SEARCH_WAIT="55")
        with processes(process):
            process.put("first", gender="male")
            assert process.total("Patient?gender=male") == 1
            ended = threading.Event()
            written, refused = list[str](), list[httpx.Response]()

            def write() -> None:
                with httpx.Client(base_url=process.client.base_url, timeout=60) as client:
                    while not ended.is_set():
                        body = {"resourceType": "Patient", "gender": "male"}
                        answer = client.post("Patient", json=body, headers={"Content-Type": "application/fhir+json"})
                        assert answer.status_code == 201, answer.text
                        written.append(answer.headers["Location"])

            def search() -> None:
                with httpx.Client(base_url=process.client.base_url, timeout=60) as client:
                    while not ended.is_set():
                        answer = client.get("Patient?gender=male&_count=1")
                        assert answer.status_code in (200, 503), answer.text
                        if answer.status_code == 503:
                            refused.append(answer)
                            time.sleep(0.05)

            threads = [threading.Thread(target=work) for work in (write, search)]
            for thread in threads:
                thread.start()
            until(lambda: len(written) > 1)
            elastic.kill()
            began = time.monotonic()
            answer = process.client.get("Patient?gender=male")
            assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0
            assert "Elasticsearch" in answer.json()["issue"][0]["details"]["text"]
            assert time.monotonic() - began < 30  # and does not wait for as long as it may
            assert process.client.get("Patient/first").status_code == 200
            conditional = process.client.put(
                "Patient?identifier=x|1", json={"resourceType": "Patient"}, headers={"Content-Type": "application/fhir+json"}
            )
            assert conditional.status_code == 503
            process.put("meanwhile", gender="male")
            assert process.client.get("../readyz").status_code == 200
            until(lambda: bool(refused))
            elastic.start()
            before = len(written)
            until(lambda: len(written) > before)
            ended.set()
            for thread in threads:
                thread.join(60)
            settled(process, "Patient?gender=male&_summary=count", len(written) + 2)
            assert process.total("Patient?_id=meanwhile") == 1


def test_a_server_killed_between_commit_and_index_loses_nothing(tmp_path: Path) -> None:
    """kill -9 at any moment: once it runs again, the index has every write that was answered, and agrees with the store."""
    url, prefix = service("elasticsearch"), f"kill{secrets.token_hex(4)}"
    process = Process(tmp_path, FHIR_SEARCH_URL=url, FHIR_SEARCH_PREFIX=prefix)
    answered = 0
    with processes(process):
        for life in range(3):
            for n in range(40):
                process.put(f"{life}-{n}", gender="male")
                answered += 1
            process.kill()
            process.start()
        settled(process, "Patient?gender=male&_summary=count", answered)
        verified = process.command("verify-index", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    found = json.loads(verified.stdout)
    assert [(t["documents"], t["missing"], t["surplus"]) for t in found["types"] if t["type"] == "Patient"] == [(answered, 0, 0)]
    assert all(t["missing"] == t["surplus"] == 0 for t in found["types"])
    asyncio.run(sweep(url, prefix))


def test_slow_searches_do_not_slow_reads(tmp_path: Path) -> None:
    """With answers of Elasticsearch that take very long, reads and writes take as long as before."""
    url, prefix = service("elasticsearch"), f"slow{secrets.token_hex(4)}"
    with SlowWay(urlsplit(url).port or 0) as way:
        process = Process(tmp_path, FHIR_SEARCH_URL=way.url, FHIR_SEARCH_PREFIX=prefix, FHIR_SEARCH_WAIT="1")
        with processes(process):
            process.put("a")
            settled(process, "Patient?_summary=count", 1)
            way.delay = 15.0
            searching = [threading.Thread(target=lambda: process.client.get("Patient?gender=male")) for _ in range(3)]
            for thread in searching:
                thread.start()
            times = []
            for n in range(20):
                began = time.monotonic()
                assert process.client.get("Patient/a").status_code == 200
                process.put(f"b{n}")
                times.append(time.monotonic() - began)
            for thread in searching:
                thread.join(60)
            assert sorted(times)[len(times) // 2] < 2 and max(times) < 14
            way.delay = 0.0
            settled(process, "Patient?_summary=count", 21)
    asyncio.run(sweep(url, prefix))


@pytest.mark.parametrize("rounds", [40])
def test_a_write_is_found_through_another_process(tmp_path: Path, rounds: int) -> None:
    """Two server processes on one store: what one has answered, the other's next search finds, every time."""
    url, prefix = service("elasticsearch"), f"ryw{secrets.token_hex(4)}"
    settings = {"FHIR_SEARCH_URL": url, "FHIR_SEARCH_PREFIX": prefix, "FHIR_SEARCH_WAIT": "30"}
    one, other = Process(tmp_path, **settings), Process(tmp_path, **settings)
    with processes(one, other):
        for n in range(rounds):
            writer, reader = (one, other) if n % 2 else (other, one)
            writer.put(f"p{n}", identifier=[{"system": "urn:n", "value": f"{n}"}])
            assert reader.total(f"Patient?identifier=urn:n|{n}") == 1, n
            writer.put(f"p{n}", identifier=[{"system": "urn:n", "value": f"was {n}"}])
            assert reader.total(f"Patient?identifier=urn:n|{n}") == 0, n
    asyncio.run(sweep(url, prefix))
