"""What the walk over a document finds, with the path put together on the way back up, so that a document without fault costs nothing."""

from copy import copy
from typing import Any, Literal

from resources.outcomes import Issue

Level = Literal["error", "warning", "information"]


class Finding:
    """One problem. `path` is relative to where the finding is now; every level above puts its own segment in front."""

    __slots__ = ("code", "level", "path", "text")

    def __init__(self, text: str, code: str = "value", level: Level = "error", path: str = "") -> None:
        self.text, self.code, self.level, self.path = text, code, level, path

    def issue(self, root: str) -> Issue:
        """As an Issue; `root` is the resource type that begins the path."""
        where = f"{root}.{self.path}" if self.path else root
        return Issue(self.level, self.code, f"{where}: {self.text}", where)


Findings = list[Finding] | None
"""None where nothing was found: the common case makes no list."""


def under(segment: str, found: list[Finding]) -> list[Finding]:
    """The findings of a child, seen from its parent: `segment` is `name` or `name[0]`."""
    for finding in found:
        finding.path = f"{segment}.{finding.path}" if finding.path else segment
    return found


def joined(first: Findings, second: Findings) -> Findings:
    """Both lists as one; either may be None."""
    if not first:
        return second
    return first + second if second else first


def shown(value: Any) -> str:
    """A value for a sentence: quoted, without control characters, cut at 60 characters."""
    text = str(value)
    return repr(text if len(text) <= 60 else text[:57] + "...")


class Scope:
    """What a rule may have to know of its surroundings.

    `root` is the outermost resource that references look into (%rootResource), `resource` the one that holds the node
    (%resource); they differ within a contained resource only. `contained` are the ids of `root`'s contained resources, `used` those
    that something refers to, `own` the id of the contained resource that is being walked. `entry`: the root is itself held by
    a Bundle or Parameters.
    """

    __slots__ = ("contained", "entry", "own", "resource", "root", "used")

    def __init__(self, root: dict[str, Any], *, entry: bool = False) -> None:
        self.root, self.resource, self.entry = root, root, entry
        inner = root.get("contained")
        self.contained: frozenset[str | None] | tuple[()] = frozenset(map(_id, inner)) if inner.__class__ is list else ()
        self.used: set[str] = set()
        self.own: str | None = None

    def within(self, resource: dict[str, Any]) -> "Scope":
        """The scope of a contained resource."""
        inner = copy(self)
        inner.resource, inner.own = resource, _id(resource)
        return inner


def dicts(items: Any) -> list[dict[str, Any]]:
    """The objects of a list, an empty one in place of what structure refuses."""
    return [item if isinstance(item, dict) else {} for item in items] if isinstance(items, list) else []


def _id(resource: Any) -> str | None:
    found = resource.get("id") if isinstance(resource, dict) else None
    return found if isinstance(found, str) else None
