"""What a request is for: purposes of use (http://terminology.hl7.org/CodeSystem/v3-ActReason), and breaking the glass.

A client says it with the header `Purpose-Of-Use` (or `X-Purpose-Of-Use`): a code, or `system|code`. `Purpose-Of-Use-Reason` says why in
words; it is kept in the AuditEvent. Without the header a request is for what the caller's role works for.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from resources.outcomes import FhirError, Issue, bad_request, shown

SYSTEM: Final = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
BREAK_GLASS: Final = "BTG"
BREAKERS: Final = frozenset(("practitioner",))
"""Roles that may break the glass."""

LONGEST_REASON: Final = 500

PARENTS: Final = MappingProxyType(
    {
        **dict.fromkeys(("TREAT", "HPAYMT", "HOPERAT", "HRESCH", "PATRQT", "PUBHLTH", "HMARKT"), ""),
        **dict.fromkeys(("CLINTRL", "COC", "ETREAT", "POPHLTH"), "TREAT"),
        **dict.fromkeys(("BTG", "ERTREAT"), "ETREAT"),
        **dict.fromkeys(("BIORCH", "CLINTRCH", "DSRCH", "POARCH", "TRANSRCH"), "HRESCH"),
        **dict.fromkeys(("CLINTRCHNPC", "CLINTRCHPC", "PRECLINTRCH"), "CLINTRCH"),
        **dict.fromkeys(("CLMATTCH", "COVAUTH", "COVERAGE", "REMITADV"), "HPAYMT"),
        **dict.fromkeys(("ELIGDTRM", "ELIGVER", "ENROLLM", "MILDCRG"), "COVERAGE"),
        **dict.fromkeys(("CAREMGT", "DONAT", "FRAUD", "GOV", "HACCRED", "HCOMPL", "HDECD", "HDIRECT", "HDM", "HLEGAL"), "HOPERAT"),
        **dict.fromkeys(("HOUTCOMS", "HPRGRP", "HQUALIMP", "HSYSADMIN", "MEMADMIN", "MILCDM", "PATADMIN", "PATSFTY"), "HOPERAT"),
        **dict.fromkeys(("PERFMSR", "RECORDMGT", "SYSDEV", "TRAIN"), "HOPERAT"),
        **dict.fromkeys(("LABELING", "METAMGT"), "HSYSADMIN"),
        "HTEST": "SYSDEV",
        **dict.fromkeys(("FAMRQT", "PWATRNY", "SUPNWK"), "PATRQT"),
        **dict.fromkeys(("DISASTER", "THREAT"), "PUBHLTH"),
    }
)
"""Purpose -> the wider one that it is part of ("": none): all of PurposeOfUse as R4's v3-ActReason has it."""

EMERGENCIES: Final = frozenset(("ETREAT", "BTG", "ERTREAT"))
"""Purposes that only BREAKERS may name; what is done for them is recorded as an emergency."""

CLAIMS: Final = MappingProxyType(
    {
        "practitioner": ("TREAT",),
        "analyst": ("HRESCH",),
        "patient": ("PATRQT",),
        **dict.fromkeys(("front-desk", "auditor", "admin"), ("HOPERAT", "HPAYMT")),
        "": ("HOPERAT", "HPAYMT", "HRESCH", "PUBHLTH", "HMARKT"),
    }
)
"""Role ("": a client on its own account) -> what its requests may be for, with all that is part of these. The first is what they are for
where they do not say."""


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


def check_not_for_many(purpose: str) -> None:
    """Raises FhirError 403 where records of many are asked for in an emergency: the glass is broken for a patient at hand, not for a
    copy of what all patients keep to themselves."""
    if purpose in EMERGENCIES:
        text = f"Purpose-Of-Use {purpose} is for one patient in an emergency: read or search that one's record; this is about many"
        raise FhirError(403, [Issue("error", "forbidden", text)])


def wider(purpose: str) -> frozenset[str]:
    """The purpose and all that it is part of: BTG is emergency treatment, and that is treatment."""
    found = {purpose}
    while purpose := PARENTS.get(purpose, ""):
        found.add(purpose)
    return frozenset(found)


def usual(role: str) -> str:
    """What the requests of a role are for where they do not say ("": a client on its own account)."""
    return CLAIMS.get(role, ("HOPERAT",))[0]


def check_claim(role: str, purpose: str) -> None:
    """Raises FhirError 403 for a purpose that requests of the role cannot be for ("" fits all): what a patient keeps from a use must not
    depend on the caller's word."""
    if purpose in EMERGENCIES and role not in BREAKERS:
        text = f"Only practitioners, signed in as such, may break the glass (Purpose-Of-Use: {purpose})"
    elif purpose and wider(purpose).isdisjoint(CLAIMS.get(role, ())):
        whose = f"users of the role {role}" if role else "clients on their own account"
        text = (
            f"Purpose-Of-Use: requests of {whose} cannot be for {purpose}, but for {', '.join(CLAIMS.get(role, ())) or 'nothing'}"
        )
        text = f"{text} and what is part of these; without the header they are for {usual(role)}"
    else:
        return
    raise FhirError(403, [Issue("error", "forbidden", text)])
