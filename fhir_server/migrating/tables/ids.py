"""Ids that are the same each time, made of what stands in columns (https://hl7.org/fhir/R4/datatypes.html#id).

For each type there is one rule, and so what refers to a resource makes the same id as the row that makes the resource.
"""

from collections.abc import Mapping
from uuid import UUID, uuid5

from resources.ids import valid_id

HASHED = "hash"
_NAMESPACE = UUID("5c7d9f4e-3a0b-5d5e-9e0c-6c1d0f2b7a31")


class IdRules:
    """`rules`: type -> a pattern with `{}` for the text ("pat-{}"), or `hash`: a UUID made of type and text. Other types: the text."""

    def __init__(self, rules: Mapping[str, str]) -> None:
        self._rules = rules

    def make(self, type: str, text: str) -> str:
        """The id. Raises ValueError with what follows the text in a sentence."""
        rule = self._rules.get(type, "{}")
        if rule == HASHED:
            return str(uuid5(_NAMESPACE, f"{type}\0{text}"))
        id = rule.replace("{}", text)
        if not valid_id(id):
            raise ValueError(
                f"makes {id[:80]!r}, no id of FHIR (1 to 64 letters, digits, '-' and '.'): have ids made of it, ids: {{{type}: hash}}"
            )
        return id
