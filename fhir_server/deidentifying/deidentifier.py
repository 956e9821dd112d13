"""De-identification of one document after another. What is done is written in rules.csv; this puts it together."""

from collections.abc import Collection
from datetime import UTC, date, datetime
from typing import Any

from conformance.load import Definitions
from fhir_server.deidentifying.addresses import place
from fhir_server.deidentifying.codes import Codes, answer
from fhir_server.deidentifying.dates import YEAR_ONLY, Calendar, Dates
from fhir_server.deidentifying.plans import Case, Plans, Treatment
from fhir_server.deidentifying.pseudonyms import Pseudonyms
from fhir_server.deidentifying.rules import form, rules

LABEL = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "PSEUDED", "display": "pseudonymized"}
"""The security label of every document that comes out (https://hl7.org/fhir/R4/security-labels.html)."""

_CODE = form(r"[A-Z0-9][A-Z0-9-]{0,39}|[a-z0-9][a-z0-9-]{0,39}")
_EXTENSION_CODE = form(r"[A-Za-z]{1,16}(-[A-Za-z]{1,16}){0,3}|248152002|248153007")
_LANGUAGE = form(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")
_CURRENCY = form(r"[A-Z]{3}")
_CONTENT_TYPE = form(r"[a-z]+/[a-z0-9.+-]{1,60}")
_LINK = form(r"[A-Za-z]?[\d./-]{1,40}")


class Deidentifier:
    """De-identifies documents by one secret: the same document always the same way.

    `secret`: 32 bytes or more, kept from whoever gets the documents. `project`: another gives other pseudonyms and other shifts of the
    same secret. `dates`: see `dates.Dates`. `today`: the day by which people are 90 or older (an export's: its transactionTime), by
    default that of the clock. `displays`: whether Codings keep their display. `bases`: URLs of the FHIR base that the documents are of.
    Raises ValueError for a secret that is too short.
    """

    def __init__(
        self,
        definitions: Definitions,
        secret: bytes,
        *,
        project: str = "",
        dates: Dates = "shift",
        today: date | None = None,
        displays: bool = False,
        bases: tuple[str, ...] = (),
    ) -> None:
        self._rules, self._dates = rules(), dates
        self._calendar = Calendar(today or datetime.now(UTC).date())
        self._pseudonyms = Pseudonyms(secret, project, frozenset(definitions.resource_types), bases)
        self._codes = Codes(definitions, displays=displays)
        self._plans = Plans(definitions, self._rules, self._treatments())

    def exported(self, type: str) -> bool:
        """Whether documents of the resource type come out at all."""
        return self._rules.exported(type)

    def id(self, type: str, id: str) -> str:
        """The pseudonym of a document's id."""
        return self._pseudonyms.id(type, id)

    def document(self, type: str, document: dict[str, Any], patient_ids: Collection[str]) -> dict[str, Any] | None:
        """A new document with what may stay of this one; None where its type is not exported, or a modifierExtension of it would be lost.

        `patient_ids`: the patients in whose compartment it lies (a Patient without any counts as its own). With one, dates are shifted
        by that patient's days; with several or none, only years stay. The document may be of any content; what is not as R4 has it goes.
        """
        if not self.exported(type) or "modifierExtension" in document:
            return None
        id = document.get("id")
        case = Case(self._days(type, id, patient_ids), self._contained(document) if "contained" in document else frozenset())
        plan = self._plans.of(type)
        out: dict[str, Any] = {"resourceType": type}
        if isinstance(id, str):
            out["id"] = self._pseudonyms.id(type, id)
        out.update(plan.masked(document, plan.kept(document, case)))
        meta: dict[str, Any] = out.setdefault("meta", {})
        meta["security"] = [*(label for label in meta.get("security", ()) if label.get("code") != LABEL["code"]), {**LABEL}]
        return out

    def _days(self, type: str, id: Any, patient_ids: Collection[str]) -> int:
        if self._dates == "year":
            return YEAR_ONLY
        if not patient_ids and type == "Patient" and isinstance(id, str):
            return self._pseudonyms.days(id)
        only = set(patient_ids)
        return self._pseudonyms.days(only.pop()) if len(only) == 1 else YEAR_ONLY

    def _contained(self, document: dict[str, Any]) -> frozenset[str]:
        """The ids of the contained resources that stay."""
        inner = document["contained"]
        return frozenset(
            each["id"]
            for each in (inner if isinstance(inner, list) else ())
            if isinstance(each, dict) and isinstance(each.get("id"), str) and self._stays(each)
        )

    def _stays(self, resource: dict[str, Any]) -> bool:
        type = resource.get("resourceType")
        return isinstance(type, str) and self.exported(type) and "modifierExtension" not in resource

    def _treatments(self) -> dict[str, Treatment]:
        calendar, codes, pseudonyms = self._calendar, self._codes, self._pseudonyms
        return {
            "keep": lambda value, case: value if type(value) not in (str, list, dict) else None,
            "code": _matching(_CODE.fullmatch),
            "code of an extension": _matching(_EXTENSION_CODE.fullmatch),
            "language": _matching(_LANGUAGE.fullmatch),
            "currency": _matching(_CURRENCY.fullmatch),
            "content-type": _matching(_CONTENT_TYPE.fullmatch),
            "date": lambda value, case: calendar.shown(value, case.days),
            "instant": lambda value, case: calendar.instant(value, case.days),
            "time": lambda value, case: calendar.time(value, case.days),
            "pseudonym": lambda value, case: pseudonyms.id("", value) if type(value) is str else None,
            "canonical": lambda value, case: pseudonyms.canonical(value, case.contained),
            "coding": lambda value, case: codes.coding(value),
            "quantity": lambda value, case: codes.quantity(value),
            "years of age": lambda value, case: codes.age(value),
            "age Quantity": lambda value, case: codes.age(value),
            "age Range": lambda value, case: codes.ages(value),
            "ages": lambda value, case: codes.ages(value),
            "answer": lambda value, case: answer(value),
            "age integer": lambda value, case: min(value, 90) if type(value) is int else None,
            "reference": self._reference,
            "address": self._address,
            "resource": self._resource,
            "link": self._link,
        }

    def _reference(self, value: Any, case: Case) -> dict[str, Any] | None:
        if type(value) is not dict:
            return None
        text, kind, out = value.get("reference"), value.get("type"), {}
        if type(text) is str and (made := self._pseudonyms.reference(text, case.contained)) is not None:
            out["reference"] = made
        if type(kind) is str and kind in self._rules.resources:
            out["type"] = kind
        return out or self._only_extensions(value, case)

    def _address(self, value: Any, case: Case) -> dict[str, Any] | None:
        if type(value) is not dict:
            return None
        plan = self._plans.of("Address")
        return {**plan.kept(value, case), **place(value)} or None

    def _resource(self, value: Any, case: Case) -> dict[str, Any] | None:
        if type(value) is not dict or not self._stays(value):
            return None
        plan, out = self._plans.of(value["resourceType"]), {"resourceType": value["resourceType"]}
        if type(id := value.get("id")) is str:
            out["id"] = self._pseudonyms.id("#", id)
        return {**out, **plan.masked(value, plan.kept(value, case))}

    def _link(self, value: Any, case: Case) -> str | None:
        if type(value) is not str:
            return None
        return value if _LINK.fullmatch(value) else self._pseudonyms.id("linkId", value)

    def _only_extensions(self, value: dict[str, Any], case: Case) -> dict[str, Any] | None:
        inner = value.get("extension")
        kept = [each for one in inner if (each := self._plans.extension(one, case)) is not None] if type(inner) is list else []
        return {"extension": kept} if kept else None


def _matching(matches: Any) -> Treatment:
    return lambda value, case: value if type(value) is str and matches(value) else None
