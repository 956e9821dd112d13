"""Codes: required bindings, and codes of the code systems that the specification lists in full.

https://hl7.org/fhir/R4/terminologies.html#required. ValueSets that cannot be enumerated from the specification (MIME types, UCUM units,
currencies, one LOINC list) are not checked.
"""

from collections.abc import Callable, Mapping
from typing import Any

from conformance.findings import Finding, Scope, shown

Check = Callable[[dict[str, Any], Scope], list[Finding] | None]

_OFFERED = 12  # codes named in a message


class Bindings:
    """The ValueSets of the required bindings.

    `value_sets`: URL -> {system: codes}, `code_systems`: URL of a complete CodeSystem -> codes (conformance.load.Definitions).
    """

    def __init__(self, value_sets: Mapping[str, Mapping[str, frozenset[str]]], code_systems: Mapping[str, frozenset[str]]) -> None:
        self._sets, self._systems = value_sets, code_systems
        self._codes: dict[str, frozenset[str]] = {}

    def codes(self, url: str | None) -> frozenset[str] | None:
        """Every code of a bound ValueSet, or None if it is not enumerated."""
        if url is None or url not in self._sets:
            return None
        if url not in self._codes:
            self._codes[url] = frozenset().union(*self._sets[url].values())
        return self._codes[url]

    def code(self, url: str) -> Callable[[Any, Scope], Finding | None]:
        """The rule for a code (or string, uri) element bound to this ValueSet."""
        allowed = self.codes(url) or frozenset()

        def rule(value: Any, scope: Scope) -> Finding | None:
            return None if value in allowed else Finding(_unknown(value, url, allowed), "code-invalid")

        return rule

    def place(self, type_code: str, url: str | None) -> Check | None:
        """The check of a Coding, CodeableConcept or Quantity element bound to this ValueSet; None if there is nothing to check."""
        if url is None or url not in self._sets:
            return None
        systems, allowed = self._sets[url], self.codes(url) or frozenset()

        def holds(coding: Any) -> bool:
            if not isinstance(coding, dict):
                return False
            system, code = coding.get("system", ""), coding.get("code")
            return isinstance(system, str) and isinstance(code, str) and code in systems.get(system, ())

        def coding(node: dict[str, Any], scope: Scope) -> list[Finding] | None:
            if holds(node) or "code" not in node:
                return None
            return [Finding(_unknown(node["code"], url, allowed, node.get("system")), "code-invalid")]

        def concept(node: dict[str, Any], scope: Scope) -> list[Finding] | None:
            codings = node.get("coding")
            codings = codings if isinstance(codings, list) else []
            if any(map(holds, codings)) or (not codings and "extension" in node):
                return None
            if not codings:
                return [Finding(f"needs a coding of {url} (required binding): {_offer(allowed)}", "code-invalid")]
            first = codings[0] if isinstance(codings[0], dict) else {}
            return [Finding(_unknown(first.get("code"), url, allowed, first.get("system")), "code-invalid")]

        return {"Coding": coding, "CodeableConcept": concept, "Quantity": coding}.get(type_code)

    def known(self, node: dict[str, Any], scope: Scope) -> list[Finding] | None:
        """Any Coding: a system that is no ValueSet, and a code that its system has, where the specification lists that system.

        Errors for FHIR's own systems; warnings for terminology.hl7.org, whose later editions have more codes than R4's.
        """
        system, code = node.get("system"), node.get("code")
        if system.__class__ is not str:
            return None
        codes = self._systems.get(system)
        if codes is None:
            if "/ValueSet/" in system:
                text = f"{shown(system)} is a ValueSet; a Coding's system is the CodeSystem that defines the code"
                return [Finding(text, "code-invalid", path="system")]
            return None
        if code.__class__ is not str or code in codes:
            return None
        text = f"{shown(code)} is not a code of {system}"
        if system.startswith("http://hl7.org/fhir/"):
            return [Finding(f"{text}: {_offer(codes)}", "code-invalid", path="code")]
        return [Finding(f"{text} as published with R4", "code-invalid", "warning", path="code")]


def _unknown(code: Any, url: str, allowed: frozenset[str], system: Any = None) -> str:
    given = f"{shown(code)} of system {shown(system)}" if system else shown(code)
    return f"{given} is not in {url} (required binding): {_offer(allowed)}"


def _offer(codes: frozenset[str]) -> str:
    if len(codes) <= _OFFERED:
        return "use one of " + ", ".join(sorted(codes))
    return f"use one of its {len(codes)} codes"
