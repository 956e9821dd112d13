"""(type, code) -> SearchParameter, from the official definitions compiled in `conformance`."""

from dataclasses import dataclass
from typing import Literal

ParameterType = Literal["number", "date", "string", "token", "reference", "composite", "quantity", "uri", "special"]


@dataclass(frozen=True, slots=True)
class SearchParameter:
    """One search parameter as it applies to one resource type. `targets` are the types that a reference may point to."""

    type: str
    code: str
    kind: ParameterType
    expression: str
    url: str
    targets: tuple[str, ...] = ()
    number: int = 0
