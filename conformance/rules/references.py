"""The rules of references and of contained resources: form, targets, `#x`.

https://hl7.org/fhir/R4/references.html. Whether a target exists is not asked here: that needs the store.
"""

import re
from collections.abc import Callable
from typing import Any

from conformance.findings import Finding, Findings, Scope, joined, shown, under

Check = Callable[[dict[str, Any], Scope], Findings]

_LITERAL = re.compile(r"([A-Z][A-Za-z]+)/[A-Za-z0-9\-.]{1,64}(?:/_history/[A-Za-z0-9\-.]{1,64})?")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:\S+")
_REST = re.compile(r"https?://.*/([A-Z][A-Za-z]+)/[A-Za-z0-9\-.]{1,64}(?:/_history/[A-Za-z0-9\-.]{1,64})?")
_CONDITIONAL = re.compile(r"([A-Z][A-Za-z]+)\?\S.*", re.DOTALL)
_UUID = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_OID = re.compile(r"urn:oid:[0-2](?:\.(?:0|[1-9][0-9]*))+")


def reference_check(targets: tuple[str, ...], resource_types: frozenset[str]) -> Check:
    """The check of a Reference whose element may point to `targets` (empty: any type)."""
    allowed = frozenset(targets) or resource_types

    def check(node: dict[str, Any], scope: Scope) -> Findings:
        text = node.get("reference")
        if text.__class__ is not str:
            return None
        match = _LITERAL.fullmatch(text)
        if match and match[1] in allowed and "type" not in node:
            return None
        return _whole_reference(node, text, scope, allowed, resource_types)

    return check


def _whole_reference(
    node: dict[str, Any], text: str, scope: Scope, allowed: frozenset[str], resource_types: frozenset[str]
) -> Findings:
    if text.startswith("#"):
        return _fragment(text, scope)
    match = _LITERAL.fullmatch(text) or _CONDITIONAL.fullmatch(text)
    if match is None and not _ABSOLUTE.fullmatch(text):
        form = "write Type/id, an absolute URL, urn:uuid:…, urn:oid:… or #id of a contained resource"
        return [Finding(f"{shown(text)} is no reference: {form}", path="reference")]
    if match and match[1] not in resource_types:
        return [Finding(f"{shown(text)}: R4 has no resource type {match[1]}", path="reference")]
    if (text.startswith("urn:uuid:") and not _UUID.fullmatch(text)) or (text.startswith("urn:oid:") and not _OID.fullmatch(text)):
        return [Finding(f"{shown(text)} is not a well-formed UUID or OID", "value", "warning", path="reference")]
    match = match or _REST.fullmatch(text)
    return _target(node, match[1], allowed, resource_types) if match else None


def _target(node: dict[str, Any], type_name: str, allowed: frozenset[str], resource_types: frozenset[str]) -> Findings:
    if type_name not in resource_types:  # an absolute URL of something that only looks like FHIR
        return None
    stated = node.get("type")
    if isinstance(stated, str) and stated in resource_types and stated != type_name:
        return [Finding(f"type says {stated}, but the reference is to a {type_name}", "invariant", path="type")]
    if type_name in allowed:
        return None
    wanted = ", ".join(sorted(allowed))
    return [Finding(f"should refer to {wanted}, not to {type_name}", "value", "warning", path="reference")]


def _fragment(text: str, scope: Scope) -> Findings:
    """`#x` must be a contained resource's id; `#` is the container itself (ref-1)."""
    if text == "#":
        if scope.own is not None:
            scope.used.add(scope.own)
        return None
    scope.used.add(text[1:])
    if text[1:] in scope.contained:
        return None
    missing = f"{shown(text)} is not contained in this resource (ref-1): contain it, or refer to Type/id"
    return [Finding(missing, "not-found", path="reference")]


def contained_check(document: dict[str, Any], scope: Scope) -> Findings:
    """The rules of contained resources (https://hl7.org/fhir/R4/references.html#contained, dom-2 to dom-5)."""
    inner = document.get("contained")
    if not isinstance(inner, list):
        return None
    found: Findings = None
    seen: set[str] = set()
    for number, resource in enumerate(inner):
        if isinstance(resource, dict):
            more = _one_contained(resource, scope, seen)
            if more:
                found = joined(found, under(f"contained[{number}]", more))
    return found


def _one_contained(resource: dict[str, Any], scope: Scope, seen: set[str]) -> list[Finding]:
    found = []
    own, meta = resource.get("id"), resource.get("meta")
    if not isinstance(own, str):
        found.append(Finding("a contained resource needs an id", "required", path="id"))
    elif own in seen:
        found.append(Finding(f"two contained resources have the id {shown(own)}", "duplicate", path="id"))
    elif own not in scope.used:
        found.append(Finding(f"nothing in the resource refers to #{own}: refer to it or leave it out (dom-3)", "invariant"))
    if isinstance(own, str):
        seen.add(own)
    if "contained" in resource:
        text = "a contained resource contains nothing itself (dom-2): contain all in the outer resource"
        found.append(Finding(text, "invariant", path="contained"))
    if isinstance(meta, dict):
        found += [
            Finding(f"a contained resource has no meta.{name} ({key})", "invariant", path=f"meta.{name}")
            for name, key in (("versionId", "dom-4"), ("lastUpdated", "dom-4"), ("security", "dom-5"))
            if name in meta
        ]
    return found
