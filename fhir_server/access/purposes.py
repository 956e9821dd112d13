"""What a request is for: purposes of use (http://terminology.hl7.org/CodeSystem/v3-ActReason), and breaking the glass.

A client says it with the header `Purpose-Of-Use` (or `X-Purpose-Of-Use`): a code, or `system|code`. `Purpose-Of-Use-Reason` says why in
words; it is kept in the AuditEvent. Without the header a request is for what the caller's role works for.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from fhir_server.messages import Identity
from resources.outcomes import FhirError, Issue, bad_request, shown

SYSTEM: Final = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
BREAK_GLASS: Final = "BTG"
BREAKERS: Final = frozenset(("practitioner",))
"""Roles that may break the glass."""

LONGEST_REASON: Final = 500

PARENTS: Final = MappingProxyType(
    {
        **dict.fromkeys(("TREAT", "HPAYMT", "HOPERAT", "HRESCH", "PATRQT", "PUBHLTH", "HMARKT", "FAMRQT", "PWATRNY", "SUPNWK"), ""),
        **dict.fromkeys(("CAREMGT", "CLINTRL", "COC", "ETREAT", "POPHLTH", "TREATDS"), "TREAT"),
        **dict.fromkeys(("BTG", "ERTREAT"), "ETREAT"),
        **dict.fromkeys(("BIORCH", "CLINTRCH", "DSRCH", "POARCH", "TRANSRCH"), "HRESCH"),
        **dict.fromkeys(("CLMATTCH", "COVAUTH", "COVERAGE", "ELIGDTRM", "ELIGVER", "ENROLLM", "REMITADV"), "HPAYMT"),
        **dict.fromkeys(
            ("DONAT", "FRAUD", "GOV", "HACCRED", "HCOMPL", "HDECD", "HDIRECT", "HDM", "HLEGAL", "HOUTCOMS", "HPRGRP"),
            "HOPERAT",
        ),
        **dict.fromkeys(
            ("HQUALIMP", "HSYSADMIN", "LABELING", "METAMGT", "MEMADMIN", "MILCDM", "PATADMIN", "PATSFTY", "PERFMSR"), "HOPERAT"
        ),
        **dict.fromkeys(("RECORDMGT", "SYSDEV", "HTEST", "TRAIN"), "HOPERAT"),
        **dict.fromkeys(("DISASTER", "THREAT"), "PUBHLTH"),
    }
)
"""Purpose -> the wider one that it is part of ("": none). Those of R4's value set PurposeOfUse that matter to a record."""

USUAL: Final = MappingProxyType(
    {"analyst": "HRESCH", "front-desk": "HOPERAT", "auditor": "HOPERAT", "admin": "HOPERAT", "patient": "PATRQT"}
)
"""Role -> what its requests are for where they do not say; treatment for all others."""


def asked_for(headers: Mapping[str, str]) -> tuple[str, str]:
    """The purpose that the headers name and the reason in words, each "" where there is none. Raises FhirError 400 for an unknown one."""
    given = headers.get("purpose-of-use") or headers.get("x-purpose-of-use") or ""
    if not given:
        return "", ""
    system, bar, code = given.strip().rpartition("|")
    if code not in PARENTS or (bar and system not in (SYSTEM, "urn:oid:2.16.840.1.113883.5.8")):
        raise bad_request(
            f"Purpose-Of-Use: {shown(given)} is no purpose that is known here; it is a code of {SYSTEM}, such as TREAT, HRESCH or BTG",
            code="value",
        )
    reason = headers.get("purpose-of-use-reason", "") or headers.get("x-purpose-of-use-reason", "")
    return code, "".join(c for c in reason[:LONGEST_REASON] if c.isprintable()).strip()


def wider(purpose: str) -> frozenset[str]:
    """The purpose and all that it is part of: BTG is emergency treatment, and that is treatment."""
    found = {purpose}
    while purpose := PARENTS.get(purpose, ""):
        found.add(purpose)
    return frozenset(found)


def usual(role: str) -> str:
    """What the requests of a role are for where they do not say ("": a client on its own account)."""
    return USUAL.get(role, "TREAT")


def check_breaker(who: Identity) -> None:
    """Raises FhirError 403 for whoever must not break the glass: patients, clients on their own account, other roles."""
    role = who.access.role if who.access is not None else ""
    if role in BREAKERS:
        return
    text = "Only practitioners, signed in as such, may break the glass (Purpose-Of-Use: BTG)"
    raise FhirError(403, [Issue("error", "forbidden", text)])
