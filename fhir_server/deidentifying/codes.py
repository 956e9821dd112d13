"""Codings and quantities: kept where the code system is a public one and the code has its form (identifiers C and R)."""

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

from conformance.load import Definitions
from fhir_server.deidentifying.rules import code_systems, form
from search.units import ucum

_REMEMBERED = 65_536
_LAST = r"[A-Za-z][A-Za-z0-9._-]{0,60}"
"""What may stand in the place of the `*` of a system."""

_COMPARATORS = frozenset(("<", "<=", ">=", ">"))
_OLDEST = {
    **dict.fromkeys(("a", "a_j", "a_t", "a_g", "y", "yr", "yrs", "year", "years"), 90),
    **dict.fromkeys(("mo", "mo_j", "mo_s", "mo_g", "month", "months"), 90 * 12),
    **dict.fromkeys(("wk", "week", "weeks"), 90 * 52),
    **dict.fromkeys(("d", "day", "days"), 90 * 365),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 90 * 365 * 24),
    **dict.fromkeys(("min", "minute", "minutes"), 90 * 365 * 24 * 60),
}
"""Unit of time -> how many of it are 90 years; rather a little less."""

AGES = frozenset(("30525-0", "21611-9", "21612-7", "29553-5", "35659-2", "63900-5", "397669002", "424144002", "445518008"))
"""Codes of a person's age. LOINC: Age, estimated, reported, calculated, at collection of the specimen, current or at death. SNOMED CT: age,
current chronological age, age at onset."""

_AGE = re.compile(r"\bage\b", re.ASCII | re.IGNORECASE)
LONGEST_ANSWER = 10_000
"""From here on a number that somebody gave as an answer may be a zip code, a telephone or record number."""


class Codes:
    """What is known of codes. `displays`: whether Codings keep their display, which is free text."""

    def __init__(self, definitions: Definitions, *, displays: bool) -> None:
        self._defined = definitions.code_systems
        self._displays = displays
        self._forms = {each.system: form(each.form) for each in code_systems() if not each.system.endswith("*")}
        self._begun = [
            (form(re.escape(each.system[:-1]) + _LAST), form(each.form)) for each in code_systems() if each.system.endswith("*")
        ]
        self.known = lru_cache(_REMEMBERED)(self._known)

    def coding(self, value: Any) -> dict[str, Any] | None:
        """A Coding that stays: its system, code and userSelected (and display, where these stay)."""
        if type(value) is not dict:
            return None
        system, code = value.get("system"), value.get("code")
        if type(system) is not str or type(code) is not str or not self.known(system, code):
            return None
        out: dict[str, Any] = {"system": system, "code": code}
        if self._displays and type(display := value.get("display")) is str:
            out["display"] = display
        if type(chosen := value.get("userSelected")) is bool:
            out["userSelected"] = chosen
        return out

    def age(self, value: Any) -> dict[str, Any] | None:
        """As `quantity`, of something that is an age: without a unit of time that is known it counts as years."""
        out = self.quantity(value)
        number = out.get("value") if out else None
        if out and number is not None and number >= 90 and not _units(value.get("code"), value.get("unit")):
            out |= {"value": 90, "comparator": ">="}
        return out

    def ages(self, value: Any) -> dict[str, Any] | None:
        """As `age`, of a Range: one that ends beyond 89 years has no end, one that begins there begins at 90."""
        if type(value) is not dict:
            return None
        low, high = self.age(value.get("low")), self.age(value.get("high"))
        out = {"low": {name: of for name, of in low.items() if name != "comparator"}} if low else {}
        if high and "comparator" not in high:
            out["high"] = high
        return out or None

    def quantity(self, value: Any) -> dict[str, Any] | None:
        """A Quantity or one of its kin: value, comparator, system, code, and UCUM's unit. 90 years and more are `>= 90`."""
        if type(value) is not dict:
            return None
        out: dict[str, Any] = {}
        number, system, code, unit = value.get("value"), value.get("system"), value.get("code"), value.get("unit")
        if number is not None and type(number) not in (str, bool, list, dict):
            out["value"] = number
        if (comparator := value.get("comparator")) in _COMPARATORS:
            out["comparator"] = comparator
        if type(system) is str and type(code) is str and self.known(system, code):
            if unit is not None and system == ucum.SYSTEM:
                out["unit"] = code
            out["system"], out["code"] = system, code
        elif type(unit) is str and unit in ucum.codes():
            out["unit"] = unit
        _top(out, code, unit)
        return out or None

    def _known(self, system: str, code: str) -> bool:
        if found := self._forms.get(system):
            return found.fullmatch(code) is not None
        if (codes := self._defined.get(system)) is not None:
            return code in codes
        return any(begun.fullmatch(system) and found.fullmatch(code) for begun, found in self._begun)


def answer(number: Any) -> Any:
    """A number that somebody gave as an answer, None for a long one."""
    return number if type(number) in (int, float, Decimal) and -LONGEST_ANSWER < number < LONGEST_ANSWER else None


def is_age(value: Mapping[str, Any]) -> bool:
    """Whether the code of an Observation or component, or a text of it, says that it is an age."""
    concept = value.get("code")
    if type(concept) is not dict:
        return False
    listed = concept.get("coding")
    codings = [each for each in listed if type(each) is dict] if type(listed) is list else []
    texts = (concept.get("text"), *(each.get("display") for each in codings))
    return any(type(code := each.get("code")) is str and code in AGES for each in codings) or any(
        type(text) is str and _AGE.search(text) for text in texts
    )


def _units(*names: Any) -> list[int]:
    """How many of these units are 90 years, of those that are units of time."""
    found = (_OLDEST.get(name.strip().lower()) for name in names if type(name) is str)
    return [oldest for oldest in found if oldest is not None]


def _top(out: dict[str, Any], code: Any, unit: Any) -> None:
    number = out.get("value")
    if number is not None and number >= 90 and (found := _units(code, unit)) and number >= found[0]:
        out["value"], out["comparator"] = found[0], ">="
