"""The ids of resources (https://hl7.org/fhir/R4/datatypes.html#id)."""

import re

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}", re.ASCII)


def valid_id(text: str) -> bool:
    """Whether `text` is a FHIR id: 1 to 64 letters, digits, '-' and '.'."""
    return _ID.fullmatch(text) is not None
