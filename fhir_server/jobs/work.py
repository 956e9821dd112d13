"""What a kind of jobs is made of: how one is planned, what its parts do, and what comes of them all."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import msgspec

from fhir_server.context import Context
from fhir_server.files.contract import Files
from fhir_server.jobs.job import Job, Part, Problem
from fhir_server.messages import FhirRequest, Identity
from resources.outcomes import FhirError

_encode = msgspec.json.Encoder().encode


class Failed(Exception):
    """The job cannot be done, and trying again would not help: the problem is what its owner is told."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.text)
        self.problem = problem

    @classmethod
    def of(cls, failure: FhirError) -> "Failed":
        """What a refusal means to a job."""
        issue = failure.issues[0]
        return cls(Problem(failure.status, issue.code, issue.text))


class Turn(Exception):
    """A part that is not done, but has put down its place, is let go: whoever has it next, perhaps the same process, begins anew from
    there. So jobs take turns, and what the owner may see is decided anew."""


FRESH = 5.0
"""Seconds after which it is decided anew what the owner of a job under way may do."""


async def _nobody() -> bool:
    return False


class Keep(Protocol):
    """Puts down how far a part has come."""

    def __call__(self, place: Any, events: Sequence[bytes] = ()) -> Awaitable[None]:
        """Commit the place, together with AuditEvents. Raises Lost."""


@dataclass(frozen=True, slots=True)
class Task:
    """One part under way. `keep` puts down how far it has come, so that whoever follows goes on from there; it raises Lost where somebody
    else has the part: then this one stops. `ctx` sees what the job's owner may see. `who` and `request` are the owner and the kick-off, as
    far as AuditEvents name them. `decide` decides anew what the owner may see by now (None: nobody's rights can change); `awaited` tells
    whether another job waits for somebody to work on it."""

    ctx: Context
    files: Files
    job: Job
    part: Part
    keep: Keep
    who: Identity
    request: FhirRequest
    decide: Callable[["Task"], Awaitable["Task"]] | None = None
    awaited: Callable[[], Awaitable[bool]] = _nobody

    async def decided(self) -> "Task":
        """This, with what the owner may see by now. Raises Failed where that is nothing any more, FhirError, StoreUnavailable."""
        return await self.decide(self) if self.decide is not None else self


class Plan(NamedTuple):
    """What there is to do: a value for all parts, and one for each."""

    whole: Any
    parts: Sequence[Any]


class Told(NamedTuple):
    """What `$job` tells of a job: `body` is its result, or as much of it as may be told already (None: nothing yet), JSON-able;
    `progress` says in a few words how far it has come."""

    body: Any
    progress: str


def done_of(job: Job, parts: Sequence[Part], what: str = "parts") -> str:
    """How far a job under way has come, by its parts (number 0 left out)."""
    return f"{sum(part.done for part in parts)} of {job.parts - 1} {what}" if job.parts else "being planned"


def _told(ctx: Context, request: FhirRequest, job: Job, parts: Sequence[Part]) -> Told:
    return Told(job.result if job.state == "done" else None, done_of(job, parts))


def _no_files(job: Job, parts: Sequence[Part], name: str) -> tuple[str, ...] | None:
    return None


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of jobs. `plan` looks at what was asked for, `work` does a part and gives its result, `result` makes the job's result of its
    parts', in order. All values are JSON-able, or msgspec Structs. Each may be called again for the same part after a process was killed,
    and must then come to the same.

    `told` is what is told of a job that has not failed, with its parts (none once it has ended); it raises FhirError for what cannot be
    told. `about` gives the types of documents that a file of the job tells of, which whoever asks for it must be allowed to see; None
    where it has no such file. `apart`: the result, or the failure, has an address of its own (`$job/[id]/result`), to which whoever asks
    about a job that has ended is sent (303)."""

    plan: Callable[[Task], Awaitable[Plan]]
    work: Callable[[Task], Awaitable[Any]]
    result: Callable[[Context, Files, Job, Sequence[Part]], Awaitable[Any]]
    told: Callable[[Context, FhirRequest, Job, Sequence[Part]], Told] = _told
    about: Callable[[Job, Sequence[Part], str], Sequence[str] | None] = _no_files
    apart: bool = False


def raw(value: Any) -> msgspec.Raw:
    """A value as JSON."""
    return msgspec.Raw(_encode(value))
