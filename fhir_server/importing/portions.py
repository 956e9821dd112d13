"""Lines of an input made into one commit: checked as every write is, compared with what is there, written once.

A portion's receipt is in its commit, so whoever does it again after a process was killed finds what came of it, and writes nothing.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import msgspec

from fhir_server.access.views import stored
from fhir_server.context import Context
from fhir_server.importing.asked import Mode
from fhir_server.importing.fetching import Line
from fhir_server.importing.wrong import Wrong as Wrong
from fhir_server.interactions.accept import accept
from fhir_server.interactions.write import write
from fhir_server.jobs.work import Task
from fhir_server.messages import FhirRequest, Identity
from resources.ids import valid_id
from resources.instants import instant_text
from resources.outcomes import FhirError, Issue, bad_request, conflict
from resources.store import ABSENT, Change, Conflict, Key, Method, Receipt, Version

_RACES = ("exists", "missing", "deleted", "version")
_ATTEMPTS = 20


class Came(msgspec.Struct, frozen=True):
    """What came of a portion: how many lines were written, how many were there as they are, and those that are wrong. `last`: the number
    of its last line, where whoever writes it again may have put it together otherwise."""

    written: int
    same: int
    wrong: tuple[Wrong, ...] = ()
    last: int = 0


class _Head(msgspec.Struct, rename="camel"):
    resource_type: str = ""
    id: str = ""


_head = msgspec.json.Decoder(_Head).decode


@dataclass(frozen=True, slots=True)
class Parsed:
    """A line and the id of the resource in it. `type`: of what type it is, where lines of several are written together. `fresh`: the id
    was given to it here; a resource that has none is made as by a POST."""

    line: Line
    id: str
    type: str = ""
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Writing:
    """Who writes lines, and how. `expires`: until when receipts are kept, in microseconds since the epoch. `later`: makes of an entry one
    that need not be indexed with the commit (`search.index.Deferring`). `last`: see Came."""

    ctx: Context
    who: Identity
    request: FhirRequest
    mode: Mode
    expires: int
    later: Callable[[Any], Any] | None = None
    last: int = 0


def parsed(line: Line, type: str) -> Parsed | Wrong:
    """The line, if it is a resource of the type with an id."""
    try:
        head = _head(line.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return wrong(line.number, bad_request("The line is not a JSON object"))
    if head.resource_type != type:
        return wrong(
            line.number, bad_request(f"The resourceType of the line is {head.resource_type[:64] or 'missing'}, not {type}")
        )
    if not valid_id(head.id):
        return wrong(line.number, bad_request("The resource has no valid id; an import keeps ids as they are", "id", "required"))
    return Parsed(line, head.id)


def wrong(line: int, refusal: FhirError) -> Wrong:
    """A line that was refused."""
    found = [issue for issue in refusal.issues if issue.severity in ("error", "fatal")] or refusal.issues
    return Wrong(line, tuple((issue.code, issue.text, issue.expression) for issue in found[:20]))


async def store(
    task: Task,
    type: str,
    mode: Mode,
    lines: Sequence[Parsed],
    later: Callable[[Any], Any] | None = None,
    key: str = "",
    last: int = 0,
) -> Came:
    """Write these lines of a job's part, of which no two have the same id, in one commit. `key` tells the portion apart from the part's
    others; without it the number of its first line does. `last`: see Came. Raises StoreUnavailable."""
    writing = Writing(task.ctx, task.who, task.request, mode, task.job.expires, later, last)
    return await store_lines(writing, f"import\0{task.job.id}\0{task.part.number}\0{key or lines[0].line.number}", type, lines)


async def store_lines(writing: Writing, name: str, type: str, lines: Sequence[Parsed]) -> Came:
    """Write these lines, of which no two are of the same resource, in one commit, of the type `type` where they do not say themselves.
    `name` is the portion's own: where it was written before, what came of it then is the answer. Raises StoreUnavailable."""
    ctx, checked, refused = _without_references(writing.ctx), list[Change](), list[Wrong]()
    numbers: dict[tuple[str, str], int] = {}
    key = blake2b(name.encode(), digest_size=32).digest()
    if (kept := await _kept(ctx, key)) is not None:
        return kept
    for each in lines:
        await asyncio.sleep(0)
        of = each.type or type
        try:
            accepted = await accept(ctx, of, each.line.body, each.id)
        except FhirError as refusal:
            refused.append(wrong(each.line.number, refusal))
            continue
        numbers[of, each.id] = each.line.number
        entry = writing.later(accepted.entry) if writing.later is not None and accepted.entry is not None else accepted.entry
        method: Method = "POST" if each.fresh or writing.mode == "create" else "PUT"
        checked.append(Change(of, each.id, accepted.draft, method=method, entry=entry, echo=False))
    for attempt in range(_ATTEMPTS):
        try:
            return await _commit(replace(writing, ctx=ctx), checked, refused, numbers, key)
        except Conflict:
            await asyncio.sleep(0.02 * attempt)
        if (kept := await _kept(ctx, key)) is not None:
            return kept
    raise conflict("Others write the same resources all the time; import when they do not")


async def _kept(ctx: Context, key: bytes) -> Came | None:
    kept = await stored(ctx).receipt(key)
    return msgspec.json.decode(kept.answer, type=Came) if kept is not None and isinstance(kept.answer, bytes) else None


async def _commit(
    writing: Writing, checked: Sequence[Change], refused: list[Wrong], numbers: dict[tuple[str, str], int], key: bytes
) -> Came:
    """One attempt. Raises Conflict where somebody else has written meanwhile."""
    ctx, mode = writing.ctx, writing.mode
    found = await stored(ctx).read_many([Key(change.type, change.id) for change in checked]) if checked else []
    changes, replaced, exist, same = list[Change](), list[Version](), list[Wrong](), 0
    for change, version in zip(checked, found, strict=True):
        live = version is not None and version.body is not None
        if live and mode == "create":
            text = f"{change.type}/{change.id} exists already, and this import only creates"
            exist.append(wrong(numbers[change.type, change.id], FhirError(409, [Issue("error", "duplicate", text)])))
        elif live and mode == "upsert" and version is not None and _is_same(change, version):
            same += 1
        else:
            expect = version.version if live and version is not None else ABSENT
            changes.append(msgspec.structs.replace(change, expect=expect))
            replaced += [version] if live and version is not None else []
    came = Came(len(changes), same, tuple(sorted((*refused, *exist), key=lambda each: each.line)), writing.last)
    if changes:
        receipt = Receipt(key, key, msgspec.json.encode(came), max(writing.expires, ctx.clock() + 3_600_000_000))
        through = ("receipt", *_RACES)
        await write(
            ctx, writing.who, writing.request, changes,
            interaction="transaction", receipt=receipt, through=through, replaced=replaced,
        )  # fmt: skip
    return came


def _is_same(change: Change, version: Version) -> bool:
    assert change.draft is not None
    return change.draft.stamp(version.version, instant_text(version.instant)) == version.body


def _without_references(ctx: Context) -> Context:
    """What is referred to may come in another input, or later in this one."""
    return replace(ctx, settings=ctx.settings.model_copy(update={"reference_existence": "off"}))
