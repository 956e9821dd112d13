"""What the record of a read costs: CPU time of building, linking and packing one AuditEvent, and its size.

.venv/bin/python benchmarks/audit.py
"""

import time
from collections.abc import Callable
from functools import partial

from fhir_server.audit import Audit
from fhir_server.auditing.patients import patients_of
from fhir_server.messages import FhirRequest, Identity
from resources.stores.bodies import Bodies
from resources.stores.chain import Chain, read_link
from smart_auth.access import Access

NOW, BASE = 1_790_000_000_000_000, "http://127.0.0.1:8000/fhir"
BODY = (
    b'{"resourceType":"Observation","id":"5","text":{"status":"generated","div":"<div xmlns=\\"http://www.w3.org/1999/xhtml\\">'
    + b"<p>Some words</p>" * 100
    + b'</div>"},"status":"final","code":{"text":"x"},"subject":{"reference":"Patient/1"}}'
)


def microseconds(work: Callable[[], object], times: int = 4_000) -> float:
    """CPU time of one call: the best of five runs."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(times):
            work()
        best = min(best, time.process_time() - began)
    return best / times * 1e6


def _stamp(chain: Chain, events: list[bytes]) -> bytes:
    return chain.links().stamp(events, 1_000, NOW)


def main() -> None:
    """Print a line for each part."""
    who = Identity(
        "anna", "app", "127.0.0.1", Access("anna", "app", "user/*.rs", 0, role="practitioner", fhir_user="Practitioner/1")
    )
    request = FhirRequest("GET", "Observation/5", type="Observation", id="5", headers={"x-request-id": "0123456789abcdef"})
    audit, chain, bodies = Audit(BASE, (BASE,)), Chain(), Bodies()
    [event] = audit.success(NOW, who, request, "read", ("Observation/5/_history/1",), [BODY])
    print(f"event of a read, document of {len(BODY):,} bytes: {len(event):,} bytes of JSON")
    print(f"  find the patients      {microseconds(lambda: patients_of([BODY], (BASE,))):6.2f} µs")
    build = microseconds(lambda: audit.success(NOW, who, request, "read", ("Observation/5/_history/1",), [BODY]))
    print(f"  build, with that       {build:6.2f} µs")
    for size in (1, 8, 64):
        events = [event] * size
        lines = chain.links().stamp(events, 1_000, NOW)
        stamp = microseconds(partial(_stamp, chain, events), 1_000) / size
        pack = microseconds(partial(bodies.pack_events, lines), 1_000) / size
        disk = len(bodies.pack_events(lines)) // size
        print(f"  link {stamp:5.2f} µs, pack {pack:5.2f} µs, {disk:4} bytes on disk, in a group of {size}")
    body = chain.links().stamp([event], 1_000, NOW)
    print(f"  read the link          {microseconds(lambda: read_link(body)):6.2f} µs")


if __name__ == "__main__":
    main()
