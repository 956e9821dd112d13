"""Train the zstd dictionary that AuditEvents are packed with, on events as the server makes them, of made-up people and apps.

    python scripts/train_event_dictionary.py > resources/stores/events.zstd

A store keeps to the dictionaries it was made with: another one needs an id of its own beside these (of `resources.stores.bodies.LATER`),
and a new layout of every store, so that older programs refuse it; never a replacement. So it is only for a new form of the events that is
packed much worse than benchmarks/audit.py says.
"""

import random
import sys
from collections.abc import Iterator
from uuid import UUID

import zstandard

from fhir_server.audit import ACTIONS, Audit
from fhir_server.auditing.happenings import CODES, event_of
from fhir_server.messages import FhirRequest, Identity
from resources.store import Head
from resources.stores.chain import NOTHING, Chain
from smart_auth.access import Access
from smart_auth.happenings import Happening

SIZE = 16 * 1024
ID = 1_803_110_001
SAMPLES = 3_000
BEGIN = 1_790_000_000_000_000
TYPES = (
    "Patient", "Observation", "Condition", "Encounter", "Appointment", "Practitioner", "DiagnosticReport", "MedicationRequest",
    "Immunization", "Procedure", "DocumentReference", "CarePlan", "Claim", "Slot", "Schedule", "Organization", "Location",
    "ServiceRequest", "Coverage", "AllergyIntolerance",
)  # fmt: skip
QUERIES = ("", "_count=50", "patient=123&_sort=-date", "_lastUpdated=gt2026-01-01&_include=Observation:subject", "name=smith")
ROLES = ("patient", "practitioner", "front-desk", "analyst", "auditor", "admin")
BASES = ("https://fhir.example.org/fhir", "http://127.0.0.1:8000/fhir")

_random = random.Random(7)


def main() -> None:
    """Write the dictionary to standard output."""
    sys.stdout.buffer.write(zstandard.train_dictionary(SIZE, list(_samples()), dict_id=ID).as_bytes())


def _samples() -> Iterator[bytes]:
    chain = Chain()
    chain.head = Head(f"{_random.getrandbits(64):016x}", 0, NOTHING)
    audits = [Audit(base, (base,)) for base in BASES]
    for number in range(SAMPLES):
        now = BEGIN + _random.randrange(10**14)
        links = chain.links()
        yield links.stamp(_events(_random.choice(audits), now), 10 ** _random.randrange(7) + number, now)
        links.keep()


def _events(audit: Audit, now: int) -> list[bytes]:
    if _random.random() < 0.06:
        return [event_of(_happening(), now, {"observer": {"display": BASES[0]}})]
    who, interaction, type, id = _identity(), _random.choice(sorted(ACTIONS)), _random.choice(TYPES), _id()
    whole = interaction.startswith(("search", "history-type", "history-system")) or interaction == "create"
    request = FhirRequest(
        _random.choice(("GET", "POST", "PUT")),
        type if whole else f"{type}/{id}",
        _random.choice(QUERIES) if whole else "",
        headers={"x-request-id": f"{_random.getrandbits(64):016x}"},
        type=type,
        id="" if whole else id,
    )
    if _random.random() < 0.08:
        return [audit.failure(now, who, request, interaction, *_random.choice(((404, "not-found"), (403, "forbidden"))))]
    touched = [f"{type}/{id}/_history/1"] if interaction in ("read", "vread") else [f"{type}/{id}"]
    if interaction.startswith("search"):
        touched = [f"{type}/{_id()}" for _ in range(_random.choice((0, 1, 3, 10)))]
    about = b"".join(b'{"reference":"Patient/%b"}' % _id().encode() for _ in range(_random.choice((0, 1, 1, 1, 2))))
    return audit.success(now, who, request, interaction, touched, [about])


def _identity() -> Identity:
    address = f"{_random.choice((10, 127, 192))}.{_random.randrange(256)}.0.{_random.randrange(1, 255)}"
    if _random.random() < 0.25:
        return Identity(address=address)
    client, role = f"{_random.getrandbits(64):016x}", _random.choice(("", *ROLES))
    named = f"{'Patient' if role == 'patient' else 'Practitioner'}/{_id()}" if role else ""
    subject = f"user{_random.randrange(999)}" if role else client
    access = Access(subject, client, "", 0, role=role, fhir_user=named, client_name="App", user_name="")
    return Identity(subject, client, address, access)


def _happening() -> Happening:
    code = _random.choice(sorted(CODES))
    return Happening(code, "signed in", subject=f"user{_random.randrange(999)}", address="127.0.0.1", about=("user/anna",))  # type: ignore[arg-type]


def _id() -> str:
    return str(UUID(int=_random.getrandbits(128)))


if __name__ == "__main__":
    main()
