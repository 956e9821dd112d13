"""Everything a document must keep beyond structure, found in one walk.

Invariants, required bindings, the forms of primitives, references and contained resources, narrative, extensions, Bundles
(https://hl7.org/fhir/R4/validation.html). Cardinality, unknown elements and types are `resources/structure.py`'s work and are not
repeated. Rules that implementers argue about warn instead of refusing.
"""

from typing import Any

from conformance.findings import Scope
from conformance.load import Definitions
from conformance.walk import Walk
from resources.outcomes import Issue

MOST = 200
"""Issues answered for one document; what is beyond is counted, not listed."""


class Validator:
    """Checks documents against the definitions. Types are compiled when first met and kept: make one and share it."""

    def __init__(self, definitions: Definitions) -> None:
        self._walk = Walk(definitions)

    def check(self, type: str, document: dict[str, Any]) -> list[Issue]:
        """Every problem of `document`, a decoded resource of `type` (floats as Decimals), that has passed `resources.structure.check`.

        Each issue's expression is the FHIRPath of the element (`Patient.name[0].given[1]`; a choice is named without its type:
        `Observation.value`). Errors mean that the document is to be refused, warnings that it may be stored.
        """
        visit = self._walk.resource(type)
        if visit is None:
            return [Issue("error", "not-supported", f"R4 has no resource type {type!r}.", type)]
        found = visit(document, Scope(document))
        if not found:
            return []
        found.sort(key=lambda finding: finding.level != "error")
        issues = [finding.issue(type) for finding in found[:MOST]]
        if len(found) > MOST:
            more = f"{len(found) - MOST} further problems are not listed; correct these first."
            issues.append(Issue(found[MOST].level, "too-long", more))
        return issues
