"""All of another server is brought along, by its export or page by page, and is the same afterwards."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from api.conftest import serving
from exporting.people import POPULATION
from migrating.running import holding, imported, totals, versions
from oauth.world import OAuth, key

TYPES = sorted({document["resourceType"] for document in POPULATION})
COUNTS = {type: sum(document["resourceType"] == type for document in POPULATION) for type in TYPES}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server that asks nobody who they are."""
    folder = Path(tmp_path_factory.mktemp("source"))
    with serving(folder, POPULATION, jobs_at_once=100, rate_limit_polls="off") as client:
        yield client


@pytest.mark.parametrize("by", ["auto", "export", "pages"])
def test_everything_comes_once(source: httpx.Client, tmp_path: Path, by: str) -> None:
    """Counts are the source's, hashes those of what came; a second time nothing is written; nothing that was fetched stays behind."""
    base, folder = str(source.base_url), tmp_path / "data"
    first = imported(folder, "server", base, "--by", by, "--count", "3")
    assert first.code == 0, first.said
    assert first.of("source") == first.of("received") == first.of("written") == first.of("verified") == COUNTS
    assert first.of("different") == first.of("failed") == {}
    second = imported(folder, "server", base, "--by", by)
    assert (second.code, second.of("written"), second.of("unchanged")) == (0, {}, COUNTS)
    assert [path for path in (folder / "import").iterdir() if path.suffix != ".lock"] == []
    with holding(folder) as here:
        assert totals(here, TYPES) == COUNTS
        assert versions(here, "Observation") == COUNTS["Observation"]
        one = POPULATION[-1]
        path = f"{one['resourceType']}/{one['id']}"
        assert _said(here.get(path).json()) == _said(source.get(path).json())
        events = here.get("AuditEvent?subtype=transaction&_count=50").json()["entry"]
        assert all('"import"' in json.dumps(each["resource"]["agent"]) for each in events)


def _said(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "meta"}


def test_a_dry_run_writes_nothing(source: httpx.Client, tmp_path: Path) -> None:
    """Everything is fetched, checked and counted, and there is not even a store afterwards."""
    done = imported(tmp_path / "data", "server", str(source.base_url), "--dry-run")
    assert done.code == 0 and done.summary["dry_run"] and done.of("written") == COUNTS
    assert not (tmp_path / "data").exists()


def test_a_dry_run_tells_what_is_there(source: httpx.Client, tmp_path: Path) -> None:
    """What is in the store as it is counts as unchanged."""
    imported(tmp_path / "data", "server", str(source.base_url), "--type", "Patient")
    done = imported(tmp_path / "data", "server", str(source.base_url), "--dry-run")
    assert done.of("unchanged") == {"Patient": COUNTS["Patient"]}
    assert "Patient" not in done.of("written")


def test_what_was_changed_since(source: httpx.Client, tmp_path: Path) -> None:
    """A later import brings what was written and deleted since, and no more."""
    base, folder = str(source.base_url), tmp_path / "data"
    imported(folder, "server", base)
    extra = {"resourceType": "Basic", "id": "extra", "code": {"text": "x"}}
    since = source.put("Basic/extra", json=extra).json()["meta"]["lastUpdated"]
    imported(folder, "server", base, "--type", "Basic")
    source.delete("Basic/extra").raise_for_status()
    kept = source.put("Basic/kept", json=extra | {"id": "kept"}).json()
    done = imported(folder, "server", base, "--since", since)
    assert done.of("written") == {"Basic": 1} and done.summary["deleted"] == 1, done.said
    with holding(folder) as here:
        assert here.get("Basic/extra").status_code == 410
        assert _said(here.get("Basic/kept").json()) == _said(kept)
    source.delete("Basic/kept").raise_for_status()


@pytest.mark.parametrize("by", ["export", "pages"])
def test_backend_services(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, by: str) -> None:
    """With its key alone it finds the token endpoint, signs in and fetches everything; without a token it is told so."""
    server = OAuth(tmp_path_factory.mktemp("oauth"), jobs_at_once=100, rate_limit_polls="off")
    try:
        base = f"{server.root}/fhir"
        path = tmp_path / "key.jwks"
        path.write_text(json.dumps({"keys": [key("backend").as_dict(private=True)]}), "utf-8")
        done = imported(tmp_path / "data", "server", base, "--by", by, "--client", "backend", "--key-file", str(path))
        assert done.code == 0, done.said
        assert done.of("written") == {"Patient": 2, "Practitioner": 1, "Encounter": 1, "Basic": 1}
        token = tmp_path / "token"
        bearer = server.service_token("backend").json()["access_token"]
        token.write_text(f"{bearer}\n", "utf-8")
        again = imported(tmp_path / "data", "server", base, "--by", by, "--token-file", str(token))
        assert again.code == 0 and again.of("unchanged") == done.of("written")
        by_variable = imported(tmp_path / "data", "server", base, "--by", by, FHIR_FROM_TOKEN=bearer)
        assert by_variable.of("unchanged") == done.of("written")
        refused = imported(tmp_path / "other", "server", base, "--by", by)
        assert refused.code != 0 and "401" in refused.said
    finally:
        server.close()


def test_references_are_made_relative_only_if_asked(tmp_path: Path) -> None:
    """Those to the old base; what else has that address in it stays, and what was there before is as it came."""
    other = {"resourceType": "Basic", "id": "b", "code": {"text": "see http://old.example.org/fhir/Patient/p"}}
    subject = {"reference": "http://old.example.org/fhir/Patient/p/_history/3"}
    author = {"reference": "http://elsewhere.example.org/fhir/Practitioner/p"}
    with serving(tmp_path / "source", [other | {"subject": subject, "author": author}]) as client:
        base = str(client.base_url)
        imported(tmp_path / "as-it-is", "server", base)
        done = imported(tmp_path / "data", "server", base, "--relative", "--old-base", "http://old.example.org/fhir/")
    assert done.code == 0 and done.of("verified") == {"Basic": 1}
    with holding(tmp_path / "as-it-is") as here:
        assert here.get("Basic/b").json()["subject"] == subject
    with holding(tmp_path / "data") as here:
        found = here.get("Basic/b").json()
        assert found["subject"] == {"reference": "Patient/p"} and found["author"] == author
        assert found["code"] == other["code"]
