"""Cut the sample data out of a Synthea population and its appointment book; how sample_data/*.ndjson.gz was made.

    python scripts/cut_sample_data.py A.bundles.ndjson.gz A.appointments.ndjson.gz sample_data

The population has one Bundle a line: hospitals, practitioners, then one transaction a patient. What is kept: the patients with the
smallest records, the hospitals and practitioners that these mention, and of the appointment book the schedules in which these
patients have appointments, with their free slots and their own appointments. Every reference that is kept resolves.
"""

import gzip
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

PATIENTS = 20
SCHEDULES = 10
CONDITIONAL = re.compile(r'"([A-Z][A-Za-z]+)\?identifier=([^"|]+)\|([^"]+)"')
Json = dict[str, Any]


def lines(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from file


def mentioned(texts: Iterable[str]) -> set[tuple[str, str]]:
    """(type, identifier value) of every conditional reference."""
    return {(type_, value) for text in texts for type_, _, value in CONDITIONAL.findall(text)}


def named(resource: Json) -> set[tuple[str, str]]:
    return {(resource["resourceType"], i["value"]) for i in resource.get("identifier", []) if "value" in i}


def inner(resource: Json) -> set[str]:
    """The urn:uuid: references of a resource."""
    return set(re.findall(r'"reference": ?"(urn:uuid:[^"]+)"', json.dumps(resource)))


def cut_shared(bundle: Json, wanted: set[tuple[str, str]]) -> Json:
    """The entries that somebody mentions, and those that hang on them (a PractitionerRole on its Practitioner)."""
    kept = []
    for entry in bundle["entry"]:
        resource = entry["resource"]
        role = resource["resourceType"] == "PractitionerRole"
        parts = {("Practitioner", resource["practitioner"]["identifier"]["value"])} if role else named(resource)
        if parts & wanted:
            kept.append(entry)
    return {**bundle, "entry": kept}


def cut_book(bundle: Json, patients: set[str]) -> Json | None:
    """A schedule with the appointments of these patients and its free slots; None if they have no appointment there."""
    own = {e["fullUrl"]: e for e in bundle["entry"]}
    appointments = {
        url: entry
        for url, entry in own.items()
        if entry["resource"]["resourceType"] == "Appointment"
        and all(value in patients for type_, value in mentioned([json.dumps(entry)]) if type_ == "Patient")
    }
    if not appointments:
        return None
    taken = {url for entry in appointments.values() for url in inner(entry["resource"])}
    kept = []
    for url, entry in own.items():
        type_ = entry["resource"]["resourceType"]
        if type_ == "Slot":
            keep = url in taken or entry["resource"]["status"] == "free"
        elif type_ == "AppointmentResponse":
            keep = inner(entry["resource"]) <= appointments.keys()
        else:
            keep = type_ != "Appointment" or url in appointments
        if keep:
            kept.append(entry)
    return {**bundle, "entry": kept}


def write(path: Path, bundles: Iterable[Json]) -> None:
    text = "".join(json.dumps(bundle, ensure_ascii=False, separators=(",", ":")) + "\n" for bundle in bundles)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(f"{path}: {text.count(chr(10))} bundles, {path.stat().st_size:,} bytes")


def main(population: Path, book: Path, target: Path) -> None:
    hospitals, practitioners, *patients = lines(population)
    chosen = sorted(sorted(patients, key=len)[:PATIENTS], key=patients.index)
    ids = {json.loads(line)["entry"][0]["resource"]["id"] for line in chosen}
    schedules = [cut for line in lines(book) if (cut := cut_book(json.loads(line), ids))]
    schedules.sort(key=lambda b: -sum(e["resource"]["resourceType"] == "Appointment" for e in b["entry"]))
    del schedules[SCHEDULES:]
    kept_practitioners = cut_shared(json.loads(practitioners), mentioned([*chosen, *map(json.dumps, schedules)]))
    roles = json.dumps(kept_practitioners)
    organizations = {("Organization", v) for _, v in re.findall(r'"system": "([^"]+synthea)", "value": "([^"]+)"', roles)}
    wanted = mentioned([*chosen, *map(json.dumps, schedules)]) | organizations
    wanted |= {("Location", value) for _, value in organizations}
    write(target / "1-hospitals.ndjson.gz", [cut_shared(json.loads(hospitals), wanted)])
    write(target / "2-practitioners.ndjson.gz", [kept_practitioners])
    write(target / "3-patients.ndjson.gz", map(json.loads, chosen))
    write(target / "4-appointments.ndjson.gz", schedules)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
