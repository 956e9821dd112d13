"""smart-fetch (https://github.com/smart-on-fhir/smart-fetch), made for research, exports from the server as a backend service."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from oauth.world import OAuth, key

COMMAND = Path(sys.executable).with_name("smart-fetch")
TYPES = "Condition,Device,DocumentReference,Encounter,Observation,Patient"


@pytest.mark.parametrize(
    ("group", "patients"), [("", None), ("../Patient", None), ("g", {"p1", "p2"})], ids=["system", "patients", "group"]
)
def test_everything_is_fetched(oauth: OAuth, tmp_path: Path, group: str, patients: set[str] | None) -> None:
    """[I39] With its key alone it signs in, begins the export, waits and fetches all files; the counts are those that searches tell."""
    jwks = tmp_path / "key.jwks"
    jwks.write_text(json.dumps({"keys": [key("backend").as_dict(private=True) | {"alg": "ES384", "key_ops": ["sign"]}]}), "utf-8")
    output = tmp_path / "out"
    client = ("--fhir-url", f"{oauth.root}/fhir", "--smart-client-id", "backend", "--smart-key", str(jwks))
    level = ("--group", group) if group else ()
    command = (str(COMMAND), "bulk", str(output), *client, *level, "--type", TYPES, "--no-default-filters", "--no-compression")
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={"HOME": str(tmp_path), "PATH": ""}, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    files = (file for file in output.glob("*.ndjson") if file.name != "log.ndjson")
    found = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    counts = Counter(each["resourceType"] for each in found)
    if patients is not None:
        assert {each["id"] for each in found if each["resourceType"] == "Patient"} == patients
        assert counts == {"Patient": 2, "Observation": 2, "Condition": 2, "DocumentReference": 1}
    elif not group:
        assert counts == {type: total for type in TYPES.split(",") if (total := _total(oauth, type))}
    else:
        assert counts["Patient"] == _total(oauth, "Patient") and counts["Device"] == 1


def _total(oauth: OAuth, type: str) -> int:
    answer = oauth.http.get(f"/fhir/{type}?_summary=count", headers=oauth.bearer("everything"))
    total: int = answer.json()["total"]
    return total
