"""Operations see everything that they depend on, not only what they search for, with Elasticsearch, over HTTP."""

import asyncio
import secrets
from pathlib import Path
from typing import Any

from indexing.feed_harness import sweep
from indexing.serving import FHIR, Process, processes
from services.running import service


def test_operations_see_what_was_written_just_before(tmp_path: Path) -> None:
    """What `$everything` refers to, and what `$lastn` chains to and includes, is there at once."""
    url, prefix = service("elasticsearch"), f"deps{secrets.token_hex(4)}"
    server = Process(tmp_path, FHIR_SEARCH_URL=url, FHIR_SEARCH_PREFIX=prefix, FHIR_SEARCH_WAIT="30")

    def put(type: str, id: str, **members: Any) -> None:
        answer = server.client.put(f"{type}/{id}", json={"resourceType": type, "id": id, **members}, headers=FHIR)
        assert answer.status_code in (200, 201), answer.text

    def names(text: str) -> set[str]:
        answer = server.client.get(text)
        assert answer.status_code == 200, answer.text
        return {f"{e['resource']['resourceType']}/{e['resource']['id']}" for e in answer.json().get("entry", [])}

    with processes(server):
        put("Patient", "p", generalPractitioner=[{"reference": "Practitioner/d"}])
        seen = {"subject": {"reference": "Patient/p"}, "status": "final", "performer": [{"reference": "Practitioner/d"}]}
        put("Observation", "o", code={"text": "x"}, **seen)
        assert names("Observation/$lastn?patient=p") == {"Observation/o"}
        put("Practitioner", "d")
        assert names("Patient/p/$everything") == {"Patient/p", "Observation/o", "Practitioner/d"}
        put("Patient", "p", identifier=[{"system": "urn:x", "value": "1"}])
        assert names("Observation/$lastn?patient.identifier=urn:x|1") == {"Observation/o"}
        put("Observation", "o", code={"text": "x"}, **seen | {"performer": [{"reference": "Organization/g"}]})
        assert names("Observation/$lastn?patient=p&_include=Observation:performer") == {"Observation/o"}
        put("Organization", "g", name="G")
        assert names("Observation/$lastn?patient=p&_include=Observation:performer") == {"Observation/o", "Organization/g"}
    asyncio.run(sweep(url, prefix))
