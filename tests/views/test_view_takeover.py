"""Exports of views whose process dies: whoever goes on writes the same files, to the byte."""

import asyncio
import json
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from exporting.asking import KICK_OFF, finished
from robustness.running import Server

from fhir_server.app import open_context
from fhir_server.config import Settings
from fhir_server.context import Context
from fhir_server.exporting.writing import output
from fhir_server.exporting.writing.written import Written
from fhir_server.jobs.board import Lost
from fhir_server.jobs.job import Job, Part
from fhir_server.jobs.work import Task, raw
from fhir_server.messages import FhirRequest, Identity
from fhir_server.views.bulk import part, plan
from fhir_server.views.bulk.asked import Asked, AskedView
from resources.documents import draft, encode
from resources.store import Change

Json = dict[str, Any]

VIEW: Json = {
    "resourceType": "ViewDefinition", "name": "names", "resource": "Patient",
    "select": [
        {"column": [{"name": "id", "path": "id"}, {"name": "family", "path": "name.first().family"}]},
        {"forEach": "name.given", "column": [{"name": "given", "path": "$this"}]},
    ],
}  # fmt: skip
"""Patients have none to four rows."""


def patient(number: int) -> Json:
    name = [{"family": sha256(str(number).encode()).hexdigest(), "given": [f"g{each}" for each in range(number % 5)] or ["only"]}]
    return {"resourceType": "Patient", "id": f"p{number}"} | ({"name": name} if number % 7 else {})


async def _fill(ctx: Context, count: int) -> None:
    await ctx.store.commit([Change("Patient", f"p{each}", draft(encode(patient(each)), f"p{each}"), 0) for each in range(count)])


async def _worked(ctx: Context, format: str, id: str, deaths: Sequence[int]) -> dict[str, bytes]:
    """The files of an export's only part, whose process dies after so many checkpoints, again and again."""
    asked = Asked((AskedView("names", raw(VIEW), "Patient"),), "http://a.example/fhir", format=format)
    job = Job(id, "view-export", "me", "http://a.example/fhir/$viewdefinition-export", raw(asked), ctx.clock(), ctx.clock())
    place: msgspec.Raw = msgspec.Raw(b"null")
    left = list(deaths)

    def task(**more: Any) -> Task:
        return Task(ctx, ctx.files, job, Part(id, 1, **more), keep, Identity(), FhirRequest("POST", "$viewdefinition-export"))

    kept = 0

    async def keep(found: Any, events: Sequence[bytes] = ()) -> None:
        nonlocal place, kept
        if left and kept == left[0]:
            left.pop(0)
            raise Lost  # what was published just now is not in the place, as after a kill between the two
        place, kept = raw(found), kept + 1

    made = await plan.plan(task())
    job = msgspec.structs.replace(job, plan=raw(made.whole), parts=2)
    [span] = made.parts
    while True:
        try:
            found: list[Written] = list(await part.work(task(what=raw(span), place=place)))
            break
        except Lost:
            continue
    assert not left
    return {each.name: b"".join([piece async for piece in ctx.files.reading(f"{id}/{each.name}")]) for each in found}


@pytest.mark.parametrize("format", ["ndjson", "csv", "json", "parquet", "arrow"])
def test_files_are_the_same_wherever_it_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str) -> None:
    """Files of bounded size, which end at the same rows after each death, at any checkpoint."""
    monkeypatch.setattr(output, "MOST", 40)
    monkeypatch.setattr(part, "PORTION", 9)

    async def compare() -> None:
        async with open_context(Settings(data_dir=tmp_path, auth="off")) as ctx:
            await _fill(ctx, 200)
            undisturbed = await _worked(ctx, format, "a", ())
            assert len(undisturbed) > 5
            for number, deaths in enumerate(((0,), (1, 3), (0, 1, 2, 3, 4, 5))):
                assert await _worked(ctx, format, f"b{number}", deaths) == undisturbed

    asyncio.run(compare())


def test_a_server_that_is_killed(tmp_path: Path) -> None:
    """Killed in the middle and started again, it goes on; what was written since is not in the files."""
    with (
        Server(tmp_path / "data", environment={"FHIR_RATE_LIMIT_POLLS": "off", "FHIR_JOBS_LEASE": "3"}) as server,
        httpx.Client(base_url=f"{server.base}/", timeout=60) as client,
    ):
        for start in range(0, 6_000, 500):
            entries = [
                {"resource": patient(each), "request": {"method": "PUT", "url": f"Patient/p{each}"}}
                for each in range(start, start + 500)
            ]
            bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
            client.post("", content=json.dumps(bundle), headers={"Content-Type": "application/fhir+json"}).raise_for_status()
        undisturbed = [_files(client, _begin(client, format)) for format in ("ndjson", "parquet")]
        urls = [_begin(client, format) for format in ("ndjson", "parquet")]
        _wait_for_a_file([tmp_path / "data" / "files" / url.rpartition("/")[2] for url in urls])
        server.kill()
        server.start()
        for url in urls:
            while client.get(url).headers.get("x-progress") in ("waiting for its turn", "being planned"):
                time.sleep(0.1)
        client.put("Patient/p1", json=patient(1) | {"active": True}).raise_for_status()
        client.delete("Patient/p2").raise_for_status()
        assert [_files(client, url) for url in urls] == undisturbed
        assert server.stop() == 0


def _begin(client: httpx.Client, format: str) -> str:
    view = {"name": "view", "part": [{"name": "viewResource", "resource": VIEW}]}
    listed = [view, {"name": "_format", "valueCode": format}]
    begun = client.post("$viewdefinition-export", json={"resourceType": "Parameters", "parameter": listed}, headers=KICK_OFF)
    assert begun.status_code == 202, begun.text
    place: str = begun.headers["content-location"]
    return place


def _files(client: httpx.Client, url: str) -> list[str]:
    """The hash of each file of a job, once it is done."""
    result = client.get(finished(client, url).headers["location"]).json()
    [told] = [each for each in result["parameter"] if each["name"] == "output"]
    return [sha256(client.get(part["valueUri"]).content).hexdigest() for part in told["part"][1:]]


def _wait_for_a_file(folders: Sequence[Path]) -> None:
    deadline = time.monotonic() + 60
    while not any(folder.exists() and any(folder.iterdir()) for folder in folders):
        assert time.monotonic() < deadline
        time.sleep(0.0005)
