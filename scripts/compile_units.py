"""Write search/units/ucum.json: the UCUM units that quantities are compared across, with their factors.

The units are those of R4's value set ucum-common; what they are worth says ucumvert with Pint (needed here and in the tests alone).
Run it after an upgrade of these libraries or of the definitions: .venv/bin/python scripts/compile_units.py
"""

import gzip
import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from lark.exceptions import VisitError
from pint.errors import PintError
from ucumvert import InvalidUcumError, PintUcumRegistry

ROOT = Path(__file__).resolve().parent.parent
TERMINOLOGY = ROOT / "conformance" / "definitions" / "terminology.r4.ndjson.gz"
TABLE = ROOT / "search" / "units" / "ucum.json"
VALUE_SET = "http://hl7.org/fhir/ValueSet/ucum-common"

ANNOTATION = re.compile(r"\{[^}]*\}")
BRACKETS = re.compile(r"\[[^\]]*\]")
RATIO = re.compile(r"[%0-9.*/^]+|\[pp[a-z]+\]")
APART = re.compile(r"(?<![A-Za-z])[munkp]?(eq|osm|Sv)(?![A-Za-z])|(REM)")
"""Of the same dimension as others, but no other measure of the same: equivalents are not moles, nor sieverts grays."""

_UNREADABLE = (InvalidUcumError, VisitError, PintError, AttributeError)
"""What the library raises for units that it does not know, logarithmic ones, and lone annotations."""

_WRONG = frozenset(("'", "''", "g%"))
"""Minutes and seconds of arc, which the library takes for those of time, and grams in 100 mL, which it takes for hundredths of grams."""

_LOGARITHMIC = re.compile(r"d?B(\[|$)|Np")


def codes() -> list[str]:
    """The codes of the value set."""
    with gzip.open(TERMINOLOGY, "rt", encoding="utf-8") as lines:
        found = next(document for document in map(json.loads, lines) if document.get("url") == VALUE_SET)
    return sorted({concept["code"] for part in found["compose"]["include"] for concept in part.get("concept", ())} - _WRONG)


class Units:
    """What the library says of units."""

    def __init__(self) -> None:
        self._registry: Any = PintUcumRegistry()
        self._offset = {"Cel": self._registry.degree_Celsius, "[degF]": self._registry.degree_Fahrenheit}
        self._arbitrary: dict[str, bool] = {}

    def value(self, code: str) -> tuple[str, float, float] | None:
        """(what is measured, factor, offset): a number n of the unit is n * factor + offset in SI units. None for units that are
        not linear, that the library does not know, or that are of nothing (other than plain ratios such as %)."""
        try:
            unit, size = (self._offset[code], 1.0) if code in self._offset else self._read(code)
            zero, one = (self._registry.Quantity(each, unit).to_base_units() for each in (0.0, size))
        except _UNREADABLE:
            return None
        dimension = str(zero.units)
        bare = ANNOTATION.sub("", code)
        if _LOGARITHMIC.match(bare):
            return None
        arbitrary = sorted(part for part in BRACKETS.findall(bare) if self._is_arbitrary(part))
        if dimension == "dimensionless" and not arbitrary and not RATIO.fullmatch(bare):
            return None
        apart = sorted(a or b for a, b in APART.findall(bare))
        kind = " ".join([dimension, *arbitrary, *apart, *sorted(ANNOTATION.findall(code))])
        return kind, one.magnitude - zero.magnitude, zero.magnitude

    def _read(self, code: str) -> tuple[Any, float]:
        found = self._registry.from_ucum(code)
        return found.units, float(found.magnitude)

    def _is_arbitrary(self, part: str) -> bool:
        """Whether a unit in brackets has no dimension and no size, as [iU] has none."""
        if part not in self._arbitrary:
            try:
                found = self._registry.from_ucum(part).to_base_units()
                self._arbitrary[part] = str(found.units) == "dimensionless" and found.magnitude == 1
            except _UNREADABLE:  # a part of a unit, such as that of mm[Hg]
                self._arbitrary[part] = False
        return self._arbitrary[part]


def table() -> dict[str, dict[str, list[str]]]:
    """What is measured -> unit -> [factor, offset] as decimals; only where there are two units or more."""
    units, found = Units(), defaultdict[str, dict[str, list[str]]](dict)
    for code in codes():
        value = units.value(code)
        if value is not None and value[1] > 0:
            found[value[0]][code] = [f"{number:.16g}" for number in value[1:]]
    return {kind: members for kind, members in sorted(found.items()) if len(members) > 1}


if __name__ == "__main__":
    made = table()
    TABLE.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.stdout.write(f"{sum(map(len, made.values()))} units of {len(made)} kinds in {TABLE.relative_to(ROOT)}\n")
