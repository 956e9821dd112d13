"""Which UCUM units measure the same, and how numbers go from one to the other (https://ucum.org).

The table `ucum.json` is made by scripts/compile_units.py. What is not in it (a unit outside R4's ucum-common, a logarithmic one) is
compared as written only. Annotations count: `/{score}` is no other `/{cells}`.
"""

import json
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

SYSTEM = "http://unitsofmeasure.org"
_TABLE = Path(__file__).parent / "ucum.json"


class Unit(NamedTuple):
    """A number n of the unit is n * factor + offset in SI units."""

    factor: float
    offset: float


@lru_cache(maxsize=1)
def _kinds() -> Mapping[str, Mapping[str, Unit]]:
    """Unit -> all units that measure the same; read at the first use."""
    kinds = json.loads(_TABLE.read_text(encoding="utf-8"))
    found: dict[str, Mapping[str, Unit]] = {}
    for members in kinds.values():
        units = {code: Unit(float(factor), float(offset)) for code, (factor, offset) in members.items()}
        found.update(dict.fromkeys(units, units))
    return found


def alike(code: str) -> Mapping[str, Unit]:
    """The units that measure the same as this one, itself among them; none for a unit that is not in the table."""
    return _kinds().get(code, {})


def codes() -> Collection[str]:
    """All units of the table."""
    return _kinds().keys()


def convert(number: float, unit: Unit, other: Unit) -> float:
    """A number of one unit in another that measures the same, to 12 digits: so 1 g is 1000 mg, not 999.9999999999999."""
    return float(f"{(number * unit.factor + unit.offset - other.offset) / other.factor:.12g}")
