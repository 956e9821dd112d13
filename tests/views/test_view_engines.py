"""Views of what MongoDB or PostgreSQL keep and Elasticsearch finds, all of them real servers: by $run, by export and by SQL."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import httpx
import pytest
from api.conftest import serving
from exporting.people import observation, patient
from robustness.running import clean_environment
from services.mongo.database import database as mongo
from services.postgres.database import database as postgres
from services.running import service
from views.test_sql import view
from views.test_view_export import exported
from views.test_view_export import rows as rows_of_export
from views.test_view_export import view as named

DATABASES = {"mongo": mongo, "postgres": postgres}
OBSERVED = view("observed", "Observation", id="id", patient="subject.getReferenceKey(Patient)") | {"id": "observed"}
EXPECTED = {f"o{number}": "p" if number % 4 else "q" for number in range(40)}
"""What each observation is of."""
DOCUMENTS = [
    *(patient(id) for id in ("p", "q")),
    *(observation(id, f"Patient/{who}") for id, who in EXPECTED.items()),
    OBSERVED,
]


@pytest.fixture(scope="module", params=DATABASES)
def settings(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """The settings of a server with an empty database and indices of its own."""
    search, prefix = service("elasticsearch"), f"views{token_hex(4)}"
    with DATABASES[request.param]() as url:
        yield {"store_url": url, "search_url": search, "search_prefix": prefix, "search_wait": 60.0}
    httpx.delete(f"{search}/{prefix}-*", timeout=60)


def test_each_road_gives_the_same_rows(settings: dict[str, Any], tmp_path: Path) -> None:
    """$run, $run of one patient, $viewdefinition-export and `fhir-server sql` agree with what was stored."""
    with serving(tmp_path, DOCUMENTS, rate_limit_polls="off", **settings) as client:
        everything = client.get("ViewDefinition/observed/$run?_format=ndjson")
        assert told(everything.text) == EXPECTED
        of_one = client.get("ViewDefinition/observed/$run?_format=ndjson&patient=Patient/q")
        assert told(of_one.text) == {id: of for id, of in EXPECTED.items() if of == "q"}
        made = exported(client, named("ViewDefinition/observed"))
        assert {row["id"]: row["patient"] for row in rows_of_export(client, made)} == EXPECTED
        asked = "select patient, count(*) as n from observed group by patient order by patient"
        environment = clean_environment(**{f"FHIR_{name.upper()}": str(value) for name, value in settings.items()})
        command = (sys.executable, "-m", "fhir_server", "sql", asked, "--format", "json", "--data-dir", str(tmp_path))
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == [{"patient": "p", "n": 30}, {"patient": "q", "n": 10}]


def told(lines: str) -> dict[str, str]:
    """Of each row, what it is about."""
    return {row["id"]: row["patient"] for row in map(json.loads, lines.splitlines())}
