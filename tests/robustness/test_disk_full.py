"""A full disk: writes are refused with 507, nothing is read unrecorded, and once there is space all goes on as if nothing had been."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from robustness.check import Checker
from robustness.disks import small_disk
from robustness.load import MARK, patient
from robustness.running import Server

SIZE = 24_000_000


@pytest.fixture(name="small_disk")
def a_small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB of its own."""
    with small_disk(tmp_path / "disk", SIZE) as folder:
        yield folder


def fill(folder: Path) -> Path:
    """A file that takes all the space that is left."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        size = 1 << 20
        while size >= 1:
            try:
                file.write(b"\0" * size)
            except OSError:
                size //= 2
    return ballast


def create(http: httpx.Client, mark: str) -> httpx.Response:
    """POST a Patient that carries `mark`, in a request that carries it too."""
    return http.post("/Patient", json=patient(mark), headers={"x-request-id": mark})


def test_full_disk(small_disk: Path, tmp_path: Path) -> None:
    """507 with an OperationOutcome while the disk is full, for reads too; afterwards everything answered is there, audited."""
    server, statuses = Server(small_disk / "data"), dict[str, int]()
    with server, httpx.Client(base_url=server.base) as http:
        kept = create(http, "before")
        assert kept.status_code == 201
        ballast = fill(small_disk)
        for number in range(200):  # the write-ahead log may have some room left
            answer = create(http, f"during-{number}")
            statuses[f"during-{number}"] = answer.status_code
        assert set(list(statuses.values())[-50:]) == {507}
        assert answer.json()["issue"][0]["code"] == "no-store"
        assert "full" in answer.text
        for number in range(20):
            read = http.get(kept.headers["location"], headers={"x-request-id": f"read-{number}"})
            statuses[f"read-{number}"] = read.status_code
        assert read.status_code == 507, "a read that cannot be recorded must not be answered"
        assert http.get("/metadata").status_code == 200
        assert http.get(f"{server.url}/livez").status_code == 200
        ballast.unlink()
        assert create(http, "after").status_code == 201
        assert http.get(kept.headers["location"]).status_code == 200
        statuses |= {"before": 201, "after": 201}
        written = {mark for mark, status in statuses.items() if status == 201}
        assert marks(server) == written
        assert server.stop() == 0
        server.start()
        assert marks(server) == written
        assert server.stop() == 0
    checker = Checker(small_disk / "data" / "fhir.db")
    asyncio.run(checker.read())
    assert [mark for mark, status in statuses.items() if status in (200, 201) and not checker.recorded(mark)] == []


def marks(server: Server) -> set[str]:
    """The marks of all Patients."""
    found = httpx.get(f"{server.base}/Patient", params={"_count": 1000}).json()["entry"]
    return {one["value"] for entry in found for one in entry["resource"]["identifier"] if one["system"] == MARK}
