"""The Bundle of brands: Organizations that users know, and the Endpoints that they are reached at."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

LARGEST: Final = 10_000_000
"""Bytes of FHIR_BRAND_FILE."""
_PROFILES: Final = "http://hl7.org/fhir/smart-app-launch/StructureDefinition/"
_EXTENSIONS: Final = "http://hl7.org/fhir/StructureDefinition/"

Document = dict[str, Any]


def read_brands(path: Path) -> Document:
    """The Bundle of a file. Raises ValueError with a sentence for whoever wrote it."""
    try:
        text = path.read_bytes() if path.stat().st_size <= LARGEST else b""
        bundle = msgspec.json.decode(text)
    except OSError as failure:
        raise ValueError(f"{path}: {failure.strerror}") from None
    except (msgspec.DecodeError, RecursionError):
        raise ValueError(f"{path} is no JSON of at most {LARGEST} bytes") from None
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle" or bundle.get("type") != "collection":
        raise ValueError(f"{path} is no Bundle of type collection")
    resources: list[Any] = [entry.get("resource") for entry in bundle.get("entry", ()) if isinstance(entry, dict)]
    if not resources or not all(_is_brand(resource) for resource in resources):
        raise ValueError(f"{path} must have entries, and only Organizations and Endpoints with an id")
    known = {f"Endpoint/{each['id']}" for each in resources if each["resourceType"] == "Endpoint"}
    if dangling := sorted(set(_referenced(resources)) - known):
        raise ValueError(f"{path} names {dangling[0]}, which is not in it")
    if not any(each["resourceType"] == "Organization" for each in resources):
        raise ValueError(f"{path} has no Organization")
    return bundle


def made_brands(issuer: str, base: str, name: str, website: str) -> Document:
    """A Bundle of one brand, whose portal is this server (`issuer`, FHIR base `base`)."""
    site = website or issuer
    endpoint: Document = {
        "resourceType": "Endpoint",
        "id": "fhir-r4",
        "meta": {"profile": [f"{_PROFILES}user-access-endpoint"]},
        "extension": [{"url": f"{_EXTENSIONS}endpoint-fhir-version", "valueCode": "4.0.1"}],
        "status": "active",
        "connectionType": {"system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type", "code": "hl7-fhir-rest"},
        "name": f"FHIR R4 endpoint of {name}",
        "contact": [{"system": "url", "value": site}],
        "payloadType": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/endpoint-payload-type", "code": "none"}]}],
        "address": base,
    }
    reference = {"reference": "Endpoint/fhir-r4"}
    portal = [
        {"url": "portalName", "valueString": name},
        {"url": "portalUrl", "valueUrl": f"{issuer}/account"},
        {"url": "portalEndpoint", "valueReference": reference},
    ]
    organization: Document = {
        "resourceType": "Organization",
        "id": "brand",
        "meta": {"profile": [f"{_PROFILES}user-access-brand"]},
        "extension": [{"url": f"{_EXTENSIONS}organization-portal", "extension": portal}],
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": site}],
        "active": True,
        "name": name,
        "telecom": [{"system": "url", "value": site}],
        "endpoint": [reference],
    }
    entries = [
        {"fullUrl": f"{issuer}/oauth/brands/{each['resourceType']}/{each['id']}", "resource": each}
        for each in (organization, endpoint)
    ]
    profile = [f"{_PROFILES}user-access-brands-bundle"]
    return {"resourceType": "Bundle", "id": "brands", "meta": {"profile": profile}, "type": "collection", "entry": entries}


def primary(bundle: Document) -> Document | None:
    """The identifier of the first brand, or None where it has none."""
    first = next(e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Organization")
    identifiers = first.get("identifier") or (None,)
    identifier: Document | None = identifiers[0]
    return identifier


def _is_brand(resource: object) -> bool:
    named = isinstance(resource, dict) and isinstance(resource.get("id"), str)
    return named and isinstance(resource, dict) and resource.get("resourceType") in ("Organization", "Endpoint")


def _referenced(resources: Iterable[Document]) -> list[str]:
    """All Endpoints that brands and their portals refer to."""
    organizations = [each for each in resources if each["resourceType"] == "Organization"]
    found = [each.get("reference") for organization in organizations for each in organization.get("endpoint", ())]
    for organization in organizations:
        for extension in organization.get("extension", ()):
            parts = extension.get("extension", ()) if extension.get("url") == f"{_EXTENSIONS}organization-portal" else ()
            found += [part.get("valueReference", {}).get("reference") for part in parts if part.get("url") == "portalEndpoint"]
    return [str(each) for each in found]
