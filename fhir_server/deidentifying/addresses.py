"""Addresses: of the United States the state and the first three digits of the zip code, of elsewhere the country (identifier B)."""

from typing import Any

from fhir_server.deidentifying.rules import form, sparse_prefixes

SPARSE = frozenset(each.prefix for each in sparse_prefixes())
_ZIP = form(r"(\d{3})(\d\d(-?\d{4})?)?")
_COUNTRY = form(r"[A-Z]{2,3}")
_UNITED_STATES = frozenset(("US", "USA", "U.S.", "U.S.A.", "UNITED STATES", "UNITED STATES OF AMERICA"))
_STATES = frozenset(
    """
    AL|ALABAMA AK|ALASKA AZ|ARIZONA AR|ARKANSAS CA|CALIFORNIA CO|COLORADO CT|CONNECTICUT DE|DELAWARE DC|DISTRICT_OF_COLUMBIA FL|FLORIDA
    GA|GEORGIA HI|HAWAII ID|IDAHO IL|ILLINOIS IN|INDIANA IA|IOWA KS|KANSAS KY|KENTUCKY LA|LOUISIANA ME|MAINE MD|MARYLAND
    MA|MASSACHUSETTS MI|MICHIGAN MN|MINNESOTA MS|MISSISSIPPI MO|MISSOURI MT|MONTANA NE|NEBRASKA NV|NEVADA NH|NEW_HAMPSHIRE
    NJ|NEW_JERSEY NM|NEW_MEXICO NY|NEW_YORK NC|NORTH_CAROLINA ND|NORTH_DAKOTA OH|OHIO OK|OKLAHOMA OR|OREGON PA|PENNSYLVANIA
    RI|RHODE_ISLAND SC|SOUTH_CAROLINA SD|SOUTH_DAKOTA TN|TENNESSEE TX|TEXAS UT|UTAH VT|VERMONT VA|VIRGINIA WA|WASHINGTON
    WV|WEST_VIRGINIA WI|WISCONSIN WY|WYOMING PR|PUERTO_RICO VI|VIRGIN_ISLANDS GU|GUAM AS|AMERICAN_SAMOA MP|NORTHERN_MARIANA_ISLANDS
    """.replace("|", " ").split()
)


def place(value: dict[str, Any]) -> dict[str, str]:
    """What of an Address may be told of the place: state, zip code, country.

    An address is of the United States where its country says so, or where it has none and its state is one of them.
    """
    country, state, code = (_text(value.get(name)) for name in ("country", "state", "postalCode"))
    american = country.upper() in _UNITED_STATES if country else _is_state(state)
    out = {}
    if american and _is_state(state):
        out["state"] = state
    if american and (found := _ZIP.fullmatch(code)):
        out["postalCode"] = "000" if found[1] in SPARSE else found[1]
    if _COUNTRY.fullmatch(country) or country.upper() in _UNITED_STATES:
        out["country"] = country
    return out


def _is_state(state: str) -> bool:
    return state.upper().replace(" ", "_") in _STATES


def _text(value: Any) -> str:
    return value.strip() if type(value) is str else ""
