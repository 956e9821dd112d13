"""The views that a statement may name: those that are stored, and those in files."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from fhir_server.views.compiler import View, compile_view
from fhir_server.views.running import Run, written
from fhir_server.views.sql.statement import Unusable
from fhir_server.views.writers.formats import writer
from resources.documents import decode
from resources.outcomes import FhirError
from resources.store import ResourceStore

NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,254}", re.ASCII)
"""What a table may be named."""


@dataclass(frozen=True, slots=True)
class Offered:
    """A view under the name that statements have for it, and where it is from: `ViewDefinition/[id]`, or a file."""

    name: str
    view: View
    origin: str


async def stored_views(store: ResourceStore) -> tuple[list[Offered], list[str]]:
    """The ViewDefinitions of a store that have a name, in its order, and why others are none: several of a name are told by it."""
    found: dict[str, list[Offered]] = {}
    left: list[str] = []
    async for versions in store.scan(["ViewDefinition"], until=await store.position()):
        for version in versions:
            origin = f"ViewDefinition/{version.id}"
            assert version.body is not None
            try:
                view = compile_view(decode(version.body))
            except FhirError as refusal:
                left.append(f"{origin} cannot be run: {refusal.issues[0].text}")
                continue
            if view.name:
                found.setdefault(view.name.lower(), []).append(Offered(view.name, view, origin))
            else:
                left.append(f"{origin} has no name")
    left += [
        f"{several[0].name} is the name of several views: {', '.join(each.origin for each in several)}"
        for several in found.values()
        if len(several) > 1
    ]
    return [several[0] for several in found.values() if len(several) == 1], left


def views_in(paths: Sequence[Path]) -> list[Offered]:
    """The ViewDefinitions in files, each under its name, or that of the file. Raises Unusable."""
    found = []
    for path in paths:
        try:
            view = compile_view(decode(path.read_bytes()))
        except OSError as problem:
            raise Unusable(f"{path} cannot be read: {problem.strerror}") from None
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise Unusable(f"{path} is no JSON") from None
        except FhirError as refusal:
            issue = refusal.issues[0]
            raise Unusable(f"{path} is no view that can be run: {issue.text} ({issue.expression})") from None
        name = view.name or path.name.partition(".")[0]
        if NAME.fullmatch(name) is None:
            raise Unusable(f"{path}: give the view a name, with letters, digits and underscores")
        found.append(Offered(name, view, str(path)))
    return found


async def write_view(run: Run, path: Path) -> None:
    """The rows of a run as a Parquet file. Raises FhirError, StoreUnavailable, OSError."""
    with path.open("wb") as file:
        async for piece in written(run, writer("parquet", run.view.columns)):
            file.write(piece)
