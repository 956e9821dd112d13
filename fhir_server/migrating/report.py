"""What a migration tells: a file of OperationOutcomes, and counts."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

import msgspec

from fhir_server.migrating.contract import Wrong


class Row(TypedDict):
    """Of one type: how many the source says it has (None: it does not say) and gave, what came of them, and how many the store holds with
    the same hash, or does not hold so."""

    source: int | None
    received: int
    written: int
    unchanged: int
    repeated: int
    failed: int
    verified: int
    different: int


class Summary(TypedDict):
    """A migration, or a dry run of one. `dangling`: resources that are referred to and are not here. `problems` counts what is in the
    report, `errors` those that are such, `first` are the first of these."""

    dry_run: bool
    types: dict[str, Row]
    deleted: int
    dangling: int
    problems: int
    errors: int
    first: list[str]
    report: str
    seconds: float


def outcome(wrong: Wrong) -> bytes:
    """An OperationOutcome on one line (https://hl7.org/fhir/R4/operationoutcome.html). `diagnostics` names file and line."""
    issues = [
        {
            "severity": each.severity,
            "code": each.code,
            "details": {"text": each.text},
            "diagnostics": wrong.where,
            **({"expression": [each.expression]} if each.expression else {}),
        }
        for each in wrong.problems
    ]
    return msgspec.json.encode({"resourceType": "OperationOutcome", "issue": issues})


def sentence(wrong: Wrong) -> str:
    """The same in one line for people, without what a terminal would take for commands."""
    each = wrong.problems[0]
    more = f" (and {len(wrong.problems) - 1} more)" if len(wrong.problems) > 1 else ""
    place = f" [{each.expression}]" if each.expression else ""
    return "".join(
        sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in f"{wrong.where}: {each.text}{place}{more}"
    )


def write_report(path: Path, wrongs: Iterable[Wrong], keep: int) -> tuple[int, int, list[str]]:
    """Write the file, for its owner alone: sentences may hold what is in records. How many there are, how many of them
    are errors, and the first `keep` of all. Raises OSError."""
    count, errors, first = 0, 0, list[str]()
    draft = path.with_name(f"{path.name}.part")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        for wrong in wrongs:
            file.write(outcome(wrong) + b"\n")
            count += 1
            errors += any(each.severity in ("error", "fatal") for each in wrong.problems)
            if len(first) < keep:
                first.append(sentence(wrong))
    draft.replace(path)
    return count, errors, first
