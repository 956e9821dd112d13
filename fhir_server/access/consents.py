"""A patient's Consent (https://hl7.org/fhir/R4/consent.html) as what it keeps from whom.

docs/smart.md has the table of what is understood. What is not never opens anything: a denial whose limits cannot be told covers more
than it says, and an exception whose limits cannot be told does not count.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.access.purposes import PARENTS
from fhir_server.access.purposes import SYSTEM as PURPOSES
from fhir_server.access.types import BINARY, OF_AUDITORS, WITHHELD
from resources.ids import valid_id
from search.parameters import registry
from search.types.date import interval
from search.values import BEGIN, END

Json = Mapping[str, Any]

_SCOPES = "http://terminology.hl7.org/CodeSystem/consentscope"
_TYPES = "http://hl7.org/fhir/resource-types"
_OPT_OUT = frozenset(("OPTOUT", "OPTOUTE"))
_SEEING = frozenset(("access", "use", "disclose"))

ROLES = ("PractitionerRole", "Organization")
"""Actors that stand for practitioners by way of their PractitionerRoles."""

MOST_NAMED = 200
"""Labels, documents, actors or purposes that one provision can name; more limit nothing: everybody's searches would carry them."""

MOST_PROVISIONS = 200
"""Provisions of one Consent, those below others included; with more it denies the whole record."""

MOST_SAID = 500
"""Provisions of one Consent and all that they name (actors, labels, documents, purposes, classes) together; with more it denies the whole
record."""

_NAMING = ("actor", "securityLabel", "data", "purpose", "class")
_ACTORS = ("Practitioner", "RelatedPerson", "Patient", *ROLES)


@dataclass(frozen=True, slots=True)
class Part:
    """Part of a record. `types`: documents of these types, None: of all; with one of the `labels` (system, code), if there are any; `ids`
    (`Observation/1`): only these, None: all."""

    types: frozenset[str] | None = None
    labels: tuple[tuple[str, str], ...] = ()
    ids: frozenset[str] | None = None

    @property
    def whole(self) -> bool:
        """Whether it is the whole record."""
        return self.types is None and not self.labels and self.ids is None

    def of(self, type: str) -> bool:
        """Whether it can have any document of the type."""
        return (self.types is None or type in self.types) and (
            self.ids is None or any(id.startswith(f"{type}/") for id in self.ids)
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """When a rule counts: for these `actors` (references, and `identifier:VALUE`; None: for everybody), for these `purposes` (None: for
    all), from `start` until before `end` (microseconds since the epoch). `part` is what it is about."""

    part: Part
    actors: frozenset[str] | None = None
    purposes: frozenset[str] | None = None
    start: int = BEGIN
    end: int = END

    def counts(self, actors: Collection[str], purposes: Collection[str], now: int) -> bool:
        """Whether it counts for a caller who is all of `actors`, for what is part of all `purposes`, at this moment."""
        return (
            self.start <= now < self.end
            and (self.actors is None or not self.actors.isdisjoint(actors))
            and (self.purposes is None or not self.purposes.isdisjoint(purposes))
        )


@dataclass(frozen=True, slots=True)
class Denial:
    """What is kept from callers for whom `rule` counts, but for the `exceptions` that count for them too."""

    rule: Rule
    exceptions: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class OptOut:
    """What one Consent denies of the record of one patient (an id). `beyond`: more than would be looked at, so that the whole record is
    denied to everybody else. `said`: how much it says, in provisions and what these name."""

    patient: str
    denials: tuple[Denial, ...]
    beyond: bool = False
    said: int = 1


def read_consent(consent: Json, bases: Sequence[str]) -> OptOut | None:
    """What a Consent denies; None for one that denies nothing: not active, not about privacy, of no patient of this server. `bases` are the
    URLs that mean this server."""
    if consent.get("status") != "active" or not _about_privacy(consent.get("scope", {})):
        return None
    patient = local(consent.get("patient", {}).get("reference", ""), bases)
    type, _, id = patient.partition("/")
    if type != "Patient" or not valid_id(id):
        return None
    provision = consent.get("provision", {})
    provisions, said = _said(provision)
    if provisions > MOST_PROVISIONS or said > MOST_SAID:
        return OptOut(id, (), beyond=True)
    denied = provision.get("type", "deny" if _opts_out(consent) else "permit") == "deny"
    denials = tuple(_denials(provision, denied, bases))
    return OptOut(id, denials, said=said) if denials else None


def _said(provision: Json) -> tuple[int, int]:
    """How many provisions there are, those below included, and how much they and all that they name are; no further than is needed to know
    that it is too much."""
    found, named = [provision], 0
    for each in found:  # it grows meanwhile
        found += each.get("provision", ())
        named += sum(len(each.get(name, ())) for name in _NAMING)
        if len(found) > MOST_PROVISIONS:
            break
    return len(found), len(found) + named


def _about_privacy(scope: Json) -> bool:
    """Also where the system is not named, or the code not: then it is not known to be about anything else."""
    codings = scope.get("coding", [])
    return not codings or any(c.get("system", _SCOPES) == _SCOPES and c.get("code") == "patient-privacy" for c in codings)


def _opts_out(consent: Json) -> bool:
    return any(coding.get("code") in _OPT_OUT for coding in consent.get("policyRule", {}).get("coding", []))


def _denials(provision: Json, denied: bool, bases: Sequence[str]) -> Iterator[Denial]:
    """A provision's own denial with the exceptions right below it, and those of all provisions below."""
    below = provision.get("provision", [])
    if denied:
        exceptions = (_exception(each, bases) for each in below if each.get("type") == "permit")
        yield Denial(_denial(provision, bases), tuple(rule for rule in exceptions if rule is not None))
    for each in below:
        yield from _denials(each, each.get("type") != "permit", bases)


def _denial(provision: Json, bases: Sequence[str]) -> Rule:
    """A denial: what cannot be understood limits nothing."""
    types, ids = _types(provision), _ids(provision, bases)
    start, end = period_of(provision) or (BEGIN, END)
    return Rule(
        Part(types or None, _labels(provision) or (), ids or None),
        _actors(provision, bases) or None,
        _purposes(provision) or None,
        start,
        end,
    )


def _exception(provision: Json, bases: Sequence[str]) -> Rule | None:
    """An exception to a denial; None where one of its limits cannot be understood."""
    types, labels, ids = _types(provision), _labels(provision), _ids(provision, bases)
    actors, purposes, period = _actors(provision, bases), _purposes(provision), period_of(provision)
    actions = {coding.get("code") for action in provision.get("action", []) for coding in action.get("coding", [])}
    others = any(provision.get(name) for name in ("code", "dataPeriod"))
    if (
        others
        or None in (types, labels, ids, actors, purposes)
        or period is None
        or (provision.get("action") and not actions & _SEEING)
    ):
        return None
    assert types is not None and labels is not None
    return Rule(Part(types or None, labels, ids or None), actors or None, purposes or None, *period)


# Each of these gives what the provision says, empty where it says nothing, None where that cannot be understood.


def _types(provision: Json) -> frozenset[str] | None:
    found = provision.get("class", [])
    if any(coding.get("system") != _TYPES or not _tellable(coding.get("code")) for coding in found):
        return None
    return frozenset(coding["code"] for coding in found)


def _tellable(type: str | None) -> bool:
    """Whether it can be told of documents of a type whose they are, or they are nobody's: not of a Bundle, which can hold anybody's."""
    return type in registry().types and (type not in WITHHELD or type in (BINARY, OF_AUDITORS))


def _labels(provision: Json) -> tuple[tuple[str, str], ...] | None:
    found = provision.get("securityLabel", [])
    if len(found) > MOST_NAMED or any(not coding.get("code") for coding in found):
        return None
    return tuple((coding.get("system", ""), coding["code"]) for coding in found)


def _ids(provision: Json, bases: Sequence[str]) -> frozenset[str] | None:
    found = provision.get("data", [])
    if len(found) > MOST_NAMED:
        return None
    references = [local(each.get("reference", {}).get("reference", ""), bases) for each in found]
    if any(each.get("meaning") != "instance" for each in found) or not all(valid_id(ref.partition("/")[2]) for ref in references):
        return None
    return frozenset(references)


def _actors(provision: Json, bases: Sequence[str]) -> frozenset[str] | None:
    found = set[str]()
    if len(provision.get("actor", [])) > MOST_NAMED:
        return None
    for actor in provision.get("actor", []):
        reference = actor.get("reference", {})
        name = local(reference.get("reference", ""), bases)
        identifier = reference.get("identifier", {}).get("value", "")
        if name.partition("/")[0] in _ACTORS:
            found.add(name)
        elif identifier and not name:
            found.add(f"identifier:{identifier}")
        else:  # a Group, a CareTeam, a name: who that is cannot be told
            return None
    return frozenset(found)


def _purposes(provision: Json) -> frozenset[str] | None:
    found = provision.get("purpose", [])
    if len(found) > MOST_NAMED or any(
        coding.get("system", PURPOSES) != PURPOSES or coding.get("code") not in PARENTS for coding in found
    ):
        return None
    return frozenset(coding["code"] for coding in found)


def period_of(provision: Json) -> tuple[int, int] | None:
    """From when until before when the member `period` says (microseconds since the epoch)."""
    period = provision.get("period", {})
    start = interval(period["start"]) if "start" in period else None
    end = interval(period["end"]) if "end" in period else None
    if ("start" in period and start is None) or ("end" in period and end is None):
        return None
    return (start.low if start else BEGIN, end.high if end else END)


def local(reference: str, bases: Sequence[str]) -> str:
    """`Type/id` of a reference to this server, without a version."""
    for base in bases:
        if reference.startswith(f"{base}/"):
            reference = reference[len(base) + 1 :]
            break
    return reference.partition("/_history/")[0]
