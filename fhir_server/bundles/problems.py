"""Everything that is wrong with a transaction, collected, so that the caller hears of it all at once."""

import re
from dataclasses import replace

from fhir_server.bundles.shell import Entry
from resources.outcomes import FhirError, Issue

MOST = 200
"""Issues answered for one Bundle; what is beyond is counted, not listed."""


class Problems:
    """Failures of entries. Each issue's expression becomes one below `Bundle.entry[n]`."""

    def __init__(self, known: "Problems | None" = None) -> None:
        self._issues: list[tuple[int, int, Issue]] = list(known._issues) if known else []
        self._numbers = {number for number, _, _ in self._issues}

    def add(self, entry: Entry, failure: FhirError, place: str = "") -> None:
        """Note what is wrong with `entry`. `place`: where, below the entry, if an issue itself does not say ("request.url")."""
        self._numbers.add(entry.number)
        self._issues += [(entry.number, failure.status, located(entry, issue, place)) for issue in failure.issues]

    def found(self, entry: Entry) -> bool:
        """Whether anything is noted of this entry."""
        return entry.number in self._numbers

    def any(self) -> bool:
        """Whether anything is noted at all."""
        return bool(self._numbers)

    def check(self) -> None:
        """Raises FhirError with every problem, in the order of the entries; its status is that of the first error."""
        if not any(issue.severity in ("error", "fatal") for _, _, issue in self._issues):
            return
        ordered = sorted(self._issues, key=lambda noted: noted[0])
        status = next(status for _, status, issue in ordered if issue.severity in ("error", "fatal"))
        issues = [issue for _, _, issue in ordered]
        if len(issues) > MOST:
            more = Issue("information", "informational", f"{len(issues) - MOST} more problems are not listed")
            issues = [*issues[:MOST], more]
        raise FhirError(status, issues, {"Retry-After": "1"} if status == 503 else {})


def located(entry: Entry, issue: Issue, place: str) -> Issue:
    """The issue with an expression in the Bundle, and with the entry named in its text."""
    what = f"{entry.method} {entry.path}".strip()
    text = f"Entry {entry.number} ({what}): {issue.text}" if what else f"Entry {entry.number}: {issue.text}"
    return replace(issue, text=text, expression=_expression(entry, issue.expression or "", place))


def _expression(entry: Entry, own: str, place: str) -> str:
    if own.startswith("Bundle.entry["):
        return own
    if own:
        below = re.sub(r"^(?:resourceType|[A-Z][A-Za-z]*)(?=$|[.\[])", "", own)
        return f"{entry.place}.resource{below}" if below[:1] in ("", ".", "[") else f"{entry.place}.resource.{below}"
    return f"{entry.place}.{place}" if place else entry.place
