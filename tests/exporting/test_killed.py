"""A server that is killed in the middle of an export, and goes on with it when it is started again."""

import json
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
from exporting.asking import begin, documents, ended, manifests
from exporting.people import observation, of, patient
from jobs.standing import before, close
from robustness.running import Server

TYPES = ("Basic", "Flag", "Observation", "Patient")


def _fill(client: httpx.Client, count: int) -> None:
    """Some thousands of documents of four types, and a few whom they refer to."""
    for number in range(7):
        client.put(f"Practitioner/d{number}", json=of("Practitioner", f"d{number}")).raise_for_status()
    text = "".join(sha256(str(number).encode()).hexdigest() for number in range(8))
    for number in range(0, count, 500):
        entries = []
        for each in range(number, number + 500):
            subject = {"reference": f"Patient/p{each % 97}"}
            note = [{"text": f"{each} {text}"}]
            found = (
                patient(f"p{each}"),
                observation(f"o{each}", f"Patient/p{each % 97}", note=note, performer=[{"reference": f"Practitioner/d{each % 7}"}]),
                of("Flag", f"f{each}", status="active", subject=subject, code={"text": note[0]["text"]}),
                of("Basic", f"b{each}", subject=subject, code={"text": note[0]["text"]}),
            )
            entries += [
                {"resource": one, "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"}} for one in found
            ]
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        client.post("", content=json.dumps(bundle), headers={"Content-Type": "application/fhir+json"}).raise_for_status()


FORMS = ("", "&organizeOutputBy=Patient", "&_outputFormat=application/vnd.apache.parquet")


def test_what_a_killed_server_began_is_finished(tmp_path: Path) -> None:
    """The files are the same to the byte as those of exports that nobody disturbed, whatever was written meanwhile; and nothing comes
    twice."""
    paths = [f"$export?_type={','.join(TYPES)}{form}" for form in FORMS]
    paths.append("Patient/$export?_type=Patient,Observation,Practitioner&_deidentify=safe-harbor")
    paths.append(f"Patient/$export?patient={','.join(f'Patient/p{number}' for number in range(20))}")
    gate = tmp_path / "gate"
    with (
        Server(tmp_path / "data", prefix=before(gate), environment={"FHIR_RATE_LIMIT_POLLS": "off"}) as server,
        httpx.Client(base_url=f"{server.base}/", timeout=60) as client,
    ):
        _fill(client, 1_000)
        undisturbed = [_files(client, told) for told in manifests(client, *paths)]
        close(gate, after=1)  # the first job stands still behind its first file, and the others behind it
        urls = [begin(client, paths[0])]
        _wait_for_a_file(tmp_path / "data" / "files" / urls[0].rpartition("/")[2])
        urls += [begin(client, path) for path in paths[1:]]
        server.kill()
        close(gate)
        server.start()
        states = [client.get(url) for url in urls]
        assert [state.status_code for state in states] == [202] * 5, "they were finished before the server was killed"
        gate.unlink()
        for url in urls:  # what is written from now on is behind the snapshot of each
            while client.get(url).headers.get("x-progress") in ("waiting for its turn", "being planned"):
                time.sleep(0.1)
        client.put("Patient/late", json=patient("late")).raise_for_status()
        client.put("Patient/p1", json=patient("p1", active=True)).raise_for_status()
        client.delete("Observation/o1").raise_for_status()
        told = [ended(client, url) for url in urls]
        assert [_files(client, each) for each in told] == undisturbed
        assert [len(documents(client, told[number])) for number in (0, 3, 4)] == [4_000, 2_007, 20 + 20 * 11 * 2 + 7 + 20 * 11]
        assert server.stop() == 0


def _files(client: httpx.Client, told: dict[str, Any]) -> list[tuple[str | None, int, str]]:
    """Type, number of documents and hash of each file."""
    return [(item.get("type"), item["count"], sha256(client.get(item["url"]).content).hexdigest()) for item in told["output"]]


def _wait_for_a_file(folder: Path) -> None:
    """Until something of the job has been written."""
    deadline = time.monotonic() + 60
    while not (folder.exists() and any(folder.iterdir())):
        assert time.monotonic() < deadline
        time.sleep(0.0005)
