"""One search parameter. Where they come from: `search/parameters.py`; what each kind means: `search/types`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

ParameterType = Literal["number", "date", "string", "token", "reference", "composite", "quantity", "uri", "special"]

ADDED_MARK = "~"
"""Stands in `SearchParameter.stored` of parameters that were added to this server, and in no official code."""


@dataclass(frozen=True, slots=True)
class Component:
    """A part of a composite parameter: the parameter that says how its values are compared, and where they are below the composite's
    element."""

    parameter: "SearchParameter"
    expression: str


class Canonical(NamedTuple):
    """The parameters by which a canonical URL with its version leads to documents of a type."""

    url: "SearchParameter"
    version: "SearchParameter"

    @property
    def type(self) -> str:
        """The type of the documents."""
        return self.url.type


@dataclass(frozen=True, slots=True)
class SearchParameter:
    """One search parameter as it applies to one resource type.

    `expression` is narrowed to the type where the official one covers several. `targets` are the types that a reference may point
    to (empty: any). `number` is a small positive integer that no other (type, code) has but an alias; `stored` is the code under
    which extraction keeps the values: another one for an alias (Patient.phonetic is Patient.name), else `code`. `bound`: code
    system -> codes, where the parameter is a `code` element with a required binding, whose values carry no system of their own.
    `searchable`: whether a query may use it; those without an expression, such as `_query`, are not. `includable`:
    whether chains, sort keys and includes can follow it: a Reference. `canonicals`: of a parameter whose values are canonicals, which
    name their targets by URLs that these have for themselves, how each type is found that they may name; only includes follow these.
    `components`: of a composite, in order.
    `custom`: whether a SearchParameter stored on this server defines it; `stored` is then a name of this very definition (`code~…`).
    """

    type: str
    code: str
    kind: ParameterType
    expression: str
    url: str
    targets: tuple[str, ...] = ()
    number: int = 0
    stored: str = ""
    description: str = field(default="", compare=False, repr=False)
    bound: Mapping[str, frozenset[str]] = field(default_factory=dict, compare=False, repr=False)
    searchable: bool = field(default=False, compare=False, repr=False)
    includable: bool = field(default=False, compare=False, repr=False)
    components: tuple[Component, ...] = field(default=(), compare=False, repr=False)
    custom: bool = field(default=False, compare=False, repr=False)
    canonicals: tuple[Canonical, ...] = field(default=(), compare=False, repr=False)

    @property
    def included(self) -> bool:
        """Whether `_include` and `_revinclude` can follow it."""
        return self.includable or bool(self.canonicals)

    @property
    def ends(self) -> tuple[str, ...]:
        """The types that includes may lead to by it; empty: any."""
        return tuple(canonical.type for canonical in self.canonicals) or self.targets
