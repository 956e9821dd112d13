"""`fhir-server reindex` with the embedded engine: the whole index anew, and only while nobody uses the file."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
from robustness.running import Server, clean_environment

NEW = {"FHIR_BASE_URL": "http://new.example/fhir"}


def reindex(data_dir: Path, *types: str, **environment: str) -> tuple[int, Any, str]:
    """Exit code, the JSON that it printed (None: none), and standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "fhir_server", "reindex", *types, "--json", "--data-dir", str(data_dir)],
        capture_output=True,
        env=clean_environment(**environment),
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout.strip() else None, done.stderr.decode()


def found(server: Server) -> int:
    """How many Observations of the Patient 1 of this server there are."""
    total: int = httpx.get(f"{server.base}/Observation?subject=Patient/1&_total=accurate", timeout=60).json()["total"]
    return total


def test_the_embedded_index_is_built_anew_once_the_server_is_stopped(tmp_path: Path) -> None:
    """References by an absolute URL count as the server's own once the index has been built anew for its new base; while a server
    uses the file nothing is touched."""
    data = tmp_path / "data"
    observation = {
        "resourceType": "Observation",
        "id": "1",
        "status": "final",
        "code": {"text": "?"},
        "subject": {"reference": "http://new.example/fhir/Patient/1"},
    }
    with Server(data) as server:
        assert httpx.put(f"{server.base}/Observation/1", json=observation, timeout=60).status_code == 201
        assert found(server) == 0
        old = server.port
        code, result, errors = reindex(data)
        assert (code, result, "stop the server" in errors) == (2, None, True)
        assert found(server) == 0
    with Server(data, environment=NEW) as server:
        assert found(server) == 0
        assert f"were indexed for http://127.0.0.1:{old}/fhir" in server.log()
    code, result, errors = reindex(data, "Observation", **NEW)
    assert (code, result["documents"]["Observation"], "all are indexed anew" in errors) == (0, 1, True), errors
    assert result["documents"]["AuditEvent"] >= 4
    with Server(data, environment=NEW) as server:
        assert found(server) == 1
        assert "were indexed for" not in server.log()
        trail = httpx.get(f"{server.base}/AuditEvent?entity=Observation/1&subtype=update&_total=accurate", timeout=60).json()
        assert trail["total"] == 1


def test_without_a_database_there_is_nothing_to_index(tmp_path: Path) -> None:
    """The command makes no database, and says which one it misses."""
    code, result, errors = reindex(tmp_path / "none")
    assert (code, result) == (2, None)
    assert "fhir.db does not exist" in errors
    assert not (tmp_path / "none").exists()
