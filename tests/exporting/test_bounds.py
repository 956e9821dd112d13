"""What one client may take: jobs under way, jobs that are kept, what a kick-off says."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from api.conftest import serving
from exporting.asking import KICK_OFF, begin, begun, ended, manifest, notes, post, refused
from exporting.people import POPULATION

from fhir_server.jobs import runner


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    """Three jobs under way, five that are kept."""
    with serving(tmp_path, POPULATION[:3], jobs_at_once=3, jobs_kept_at_once=5, rate_limit_polls="off") as made:
        yield made


def test_many_kick_offs_at_the_same_moment(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more are begun than may be under way."""

    async def never(self: runner.Runner) -> bool:
        return False

    monkeypatch.setattr(runner.Runner, "_round", never)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: client.get("$export", headers=KICK_OFF).status_code, range(24)))
    assert sorted(answers) == [202] * 3 + [429] * 21


def test_jobs_that_are_kept(client: httpx.Client) -> None:
    """Those that have ended count too, until they are deleted."""
    urls = []
    for _ in range(5):
        urls.append(begin(client))
        ended(client, urls[-1])
    assert "FHIR_JOBS_KEPT_AT_ONCE" in refused(client.get("$export", headers=KICK_OFF), 429)
    assert client.delete(urls[2]).status_code == 202
    ended(client, begin(client))


def test_what_a_kick_off_may_say(client: httpx.Client) -> None:
    """Of many parameters that are not known some are told of; more than 10,000, or 2 MB, are refused."""
    told = ended(client, begun(post(client, "$export", *((f"unknown{number}", "x") for number in range(3_000)), lenient=True)))
    found = notes(client, told)
    assert len(found) == 101 and "2900 more" in found[-1]
    many = [("patient", "Patient/p1")] * 10_001
    assert "10000 parameters" in refused(post(client, "Patient/$export", *many, lenient=True), 400)
    assert "2000000 bytes" in refused(post(client, "$export", ("_type", "x" * 2_000_000), lenient=True), 413)


def test_what_is_large_is_kept_apart(client: httpx.Client) -> None:
    """A job with much to say is done as any other."""
    named = [("patient", {"reference": f"Patient/{id}"}) for id in ("p1", *(f"no{number:050d}" for number in range(300)))]
    told = ended(client, begun(post(client, "Patient/$export", ("_type", "Patient"), *named, lenient=True)))
    assert [(file["type"], file["count"]) for file in told["output"]] == [("Patient", 1)]
    assert manifest(client, "$export?_type=Patient")["output"][0]["count"] == 1
