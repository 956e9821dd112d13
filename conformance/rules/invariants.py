"""The invariants of the specification, compiled from their FHIRPath when a type is first met.

An invariant that gives nothing (an empty result) has failed, as in HL7's own validator; one that only warns does so where it is
false. A few are published wrong or are checked natively, and stand in OVERRIDES.
"""

from collections.abc import Callable, Mapping
from typing import Any

from conformance.fhirpath import FhirPathError, compile_expression
from conformance.findings import Finding, Findings, Scope
from conformance.load import Constraint

Invariant = Callable[[Any, Scope], Findings]

OVERRIDES: dict[str, str | None] = {
    # None: checked natively in the walk (ele-1, ext-1 are not in the tables at all)
    "dom-2": None,
    "dom-3": None,
    "dom-4": None,
    "dom-5": None,
    "dom-6": None,
    "ref-1": None,
    "txt-1": None,
    "txt-2": None,
    # R4's code is `noshow`; `no-show` is none (corrected in R4B)
    "app-4": "cancelationReason.exists() implies (status = 'noshow' or status = 'no-show' or status = 'cancelled')",
    # published so that they fail where the element they speak of is absent
    "bdl-8": "fullUrl.exists() implies fullUrl.contains('/_history/').not()",
    "ras-2": "probability.exists() implies ((probability is decimal) implies ((probability as decimal) <= 100))",
    # `> 2` in R4, though the sentence says "more than one"
    "que-12": "enableWhen.count() >= 2 implies enableBehavior.exists()",
    # the answer is a FHIR boolean, not a System.Boolean
    "que-7": "operator = 'exists' implies (answer is boolean)",
    # `when` may repeat
    "tim-9": "offset.empty() or (when.exists() and when.where($this in ('C' | 'CM' | 'CD' | 'CV')).empty())",
    # the whole path, not some part of it
    "eld-19": (
        "path.matches('^[^\\\\s\\\\.,:;\\\\\\'\"\\\\/|?!@#$%&*()\\\\[\\\\]{}]{1,64}"
        "(\\\\.[^\\\\s\\\\.,:;\\\\\\'\"\\\\/|?!@#$%&*()\\\\[\\\\]{}]{1,64}(\\\\[x\\\\])?(\\\\:[^\\\\s\\\\.]+)?)*$')"
    ),
}


class Invariants:
    """Compiled invariants, by key and type. `constraints`: as in conformance.load.Definitions."""

    def __init__(self, constraints: Mapping[str, Constraint]) -> None:
        self._constraints = constraints
        self._made: dict[tuple[str, str], Invariant | None] = {}

    def of(self, keys: tuple[str, ...], type_name: str) -> tuple[Invariant, ...]:
        """The invariants with these keys as they apply to a node of `type_name`; those checked natively left out."""
        made = (self._one(key, type_name) for key in keys)
        return tuple(invariant for invariant in made if invariant is not None)

    def _one(self, key: str, type_name: str) -> Invariant | None:
        if (key, type_name) not in self._made:
            self._made[key, type_name] = self._compile(self._constraints[key], type_name)
        return self._made[key, type_name]

    @staticmethod
    def _compile(constraint: Constraint, type_name: str) -> Invariant | None:
        source = OVERRIDES.get(constraint.key, constraint.expression)
        if source is None:
            return None
        truth = compile_expression(source, type_name).truth
        text = f"{constraint.human.rstrip('.')} ({constraint.key})"
        warned = constraint.severity != "error"

        def invariant(node: Any, scope: Scope) -> Findings:
            try:
                result = truth(node, scope.resource, scope.root)
            except (
                FhirPathError,
                TypeError,
                AttributeError,
            ) as problem:  # the latter two: a value of a type that structure refuses
                return [Finding(f"could not be checked for {constraint.key}: {problem}", "processing", "warning")]
            if result or (warned and result is None):
                return None
            return [Finding(text, "invariant", "warning" if warned else "error")]

        return invariant
