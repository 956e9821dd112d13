"""Verifies archives of the audit: signatures, files, and the chains of events from one file to the next."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from joserfc.jwk import OKPKey

from fhir_server.auditing.archive import KIND, ArchiveProblem, Manifest, beside, events_of, hash_of_file, opened_manifest
from fhir_server.auditing.chains import Chains
from fhir_server.auditing.findings import Finding, Report
from fhir_server.auditing.statements import BadSignature, hash_token
from resources.store import ResourceStore, Version


async def manifests(store: ResourceStore, keys: Mapping[str, OKPKey], report: Report) -> list[tuple[str, Manifest]]:
    """The manifests that the store knows, in order; what is wrong with them is in the report."""
    found: list[tuple[str, Manifest]] = []
    after = ""
    while part := await store.records(KIND, after=after):
        for record in part:
            token = record.value.decode("ascii", "replace")
            try:
                manifest = opened_manifest(token, keys)
            except BadSignature as problem:
                _wrong(report, record.key, f"its manifest in the store does not hold: {problem}")
                continue
            last, previous = (found[-1][1].number, hash_token(found[-1][0])) if found else (0, "")
            if (manifest.number, manifest.previous) != (last + 1, previous):
                _wrong(report, str(last + 1), f"the next manifest in the store is number {manifest.number}, and does not follow")
            found.append((token, manifest))
        after = part[-1].key
    return found


def verify_files(folder: Path, known: Sequence[tuple[str, Manifest]], report: Report) -> None:
    """Look at the files of these manifests. Events in them count as linked in the report."""
    chains = Chains(report, whole=True)
    for token, manifest in known:
        _verify_file(folder, manifest, token, chains, report)
        report.archived += manifest.count


def _verify_file(folder: Path, manifest: Manifest, token: str, chains: Chains, report: Report) -> None:
    number, path = manifest.number, folder / manifest.file
    try:
        copy = folder / beside(manifest.file)
        if not copy.exists() or copy.read_text(errors="replace") != token:
            _wrong(report, str(number), f"{copy.name} is gone or is not what the store has")
        if hash_of_file(path) != manifest.sha256:
            _wrong(report, str(number), f"{path.name} is not the file that was signed")
        count = 0
        for body, link in events_of(path):
            count += 1
            if link is not None:
                chains.take(_version(body, link.position, link.instant), sha256(body).digest(), link)
        if count != manifest.count:
            _wrong(report, str(number), f"{path.name} has {count} events; {manifest.count} were signed")
    except (ArchiveProblem, OSError) as problem:
        _wrong(report, str(number), str(problem))
    for writer, (head, hash) in manifest.heads.items():
        chains.ends(writer, head, hash, manifest.checkpoint)


def _version(body: bytes, position: int, instant: str) -> Version:
    """The event as a store had it; its instant is what it says itself."""
    moment = round(datetime.fromisoformat(instant).timestamp() * 1_000_000)
    return Version("AuditEvent", f"event-{position}", 1, moment, "POST", body, position)


def _wrong(report: Report, number: str, text: str) -> None:
    report.add(Finding("archive", f"archive {int(number) if number.isdigit() else number}", text))
