"""`near` of Location: places by their distance (https://hl7.org/fhir/R4/location.html#positional).

Distances are along the surface of a sphere of the Earth's mean radius, which is off by up to half a percent.
"""

import re
from collections.abc import Sequence
from math import asin, cos, degrees, radians, sin, sqrt
from typing import Any

from search.parameter import SearchParameter
from search.query import Modifier, Term
from search.types.number import as_float
from search.types.text import BadValue, Bases, Converter, Reading, split, unescape
from search.values import PositionValue, Value

EARTH = 6_371_008.8
"""Mean radius of the Earth in metres."""

DEFAULT_RADIUS = 50_000.0
"""Metres within which a place is near where the query names no distance."""

_METRES = {"km": 1_000.0, "m": 1.0, "mi": 1_609.344, "[mi_i]": 1_609.344, "[mi_us]": 6_336_000 / 3_937, "": 1_000.0}
_NUMBER = re.compile(r"[+-]?\d{1,12}(?:\.\d{1,40})?", re.ASCII)
_FORM = "write latitude|longitude|distance|unit, as in 48.2|16.37|10|km"

MODIFIERS = frozenset({Modifier.MISSING})


def parse(text: str, parameter: SearchParameter, modifier: Modifier, reading: Reading) -> tuple[Term, ...]:
    """`48.2|16.37|10|km`: within 10 km; the unit may be left out (km), and the distance too (DEFAULT_RADIUS). Raises BadValue."""
    parts = [unescape(part).strip() for part in split(text, "|")]
    if not 2 <= len(parts) <= 4:
        raise BadValue(f"'{text}' is no place: {_FORM}")
    latitude, longitude, distance, unit = (*parts, "", "")[:4]
    if unit not in _METRES:
        raise BadValue(f"'{text}' has the unit {unit!r}: distances are in km, m, mi or [mi_us]")
    radius = _number(distance, text) * _METRES[unit] if distance else DEFAULT_RADIUS
    place = _place(_number(latitude, text), _number(longitude, text))
    if place is None or radius < 0:
        raise BadValue(
            f"'{text}' is no place: latitudes go from -90 to 90, longitudes from -180 to 180, and a distance is 0 or more"
        )
    return (Term(place._replace(radius=radius)),)


def converter(fhir_type: str, bases: Bases) -> Converter | None:
    """Location.position; what is no place on the Earth makes no value."""
    return _position if fhir_type == "Location.position" else None


def match(term: Term, modifier: Modifier, value: Value) -> bool:
    """No farther away than was asked for."""
    asked = term.value
    assert isinstance(asked, PositionValue) and isinstance(value, PositionValue)
    return apart(value.latitude, value.longitude, asked.latitude, asked.longitude) <= asked.radius


def apart(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Metres between two places along a great circle (by haversines, which are exact for near ones too)."""
    a, b = radians(latitude), radians(other_latitude)
    half_north, half_east = sin((b - a) / 2), sin(radians(other_longitude - longitude) / 2)
    return 2 * EARTH * asin(min(1.0, sqrt(half_north * half_north + cos(a) * cos(b) * half_east * half_east)))


def band(asked: PositionValue) -> tuple[float, float]:
    """The lowest and highest latitude, in degrees, of what may be near: slightly more, so that rounding takes nothing away."""
    height = degrees(asked.radius / EARTH) + 1e-9
    return asked.latitude - height, asked.latitude + height


def _number(text: str, whole: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise BadValue(f"'{whole}' is no place, {text!r} no number: {_FORM}")
    return float(text)


def _place(latitude: float, longitude: float) -> PositionValue | None:
    return PositionValue(latitude, longitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else None


def _position(values: Sequence[dict[str, Any]]) -> list[Value]:
    written = ((v["latitude"], v["longitude"]) for v in values if "latitude" in v and "longitude" in v)
    return [place for pair in written if (place := _place(*map(as_float, pair))) is not None]
