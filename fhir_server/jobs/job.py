"""Jobs: work that outlives its request, kept as records in the store (docs/adr/0022).

A job is cut into parts. Whoever works holds a part's lease, and puts down how far the part has come in the same record: a process that is
killed is followed by another one, which goes on from there. Every write names the revision that it follows, so whoever has lost the lease
can change nothing any more.
"""

from typing import Literal

import msgspec

from smart_auth.access import Access

JOB, PART, BULK, COUNT = "job", "job-part", "job-bulk", "job-count"
"""Kinds of records: jobs, their parts, what is large of a job, and one for each owner that changes with each job that is begun."""

KEPT, ACTIVE, LITTERED = "kept", "active", "littered"
"""Tags: of all jobs, of those that have not ended, and of those that ended otherwise than done and may have left files."""

NOTHING = msgspec.Raw(b"null")

FARTHEST = 900_000_000
"""Microseconds for which a part may be held, and more: the longest lease has a third of that."""

State = Literal["running", "done", "failed", "cancelled"]


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a job failed, as it is told to whoever asks: the HTTP status, an issue code, a sentence."""

    status: int
    code: str
    text: str


class Job(msgspec.Struct, frozen=True, omit_defaults=True):
    """One job. `kind` says what it is ("export"), `owner` whose it is, `access` what the owner's token stood for (None: nobody was asked),
    `request` is the URL that started it (its `method`, `path` and `query`, below the base, are what AuditEvents name), `asked` its
    parameters and `plan` what was made of them, as the kind's own JSON. Times are in microseconds since the epoch. `parts` is 0 until it is
    planned. From its end on it is kept for as long as from `created` to `expires`, which then says until when. `result` is the kind's own
    JSON, of a job that is done. `apart`: what is large, which is what was asked, the plan and the result, is a record of its own, which
    lists of jobs lack.
    """

    id: str
    kind: str
    owner: str
    request: str
    asked: msgspec.Raw
    created: int
    expires: int
    access: Access | None = None
    address: str = ""
    purpose: str = ""
    method: str = "GET"
    path: str = ""
    query: str = ""
    state: State = "running"
    parts: int = 0
    plan: msgspec.Raw = NOTHING
    result: msgspec.Raw = NOTHING
    problem: Problem | None = None
    finished: int = 0
    apart: bool = False

    def gone(self, now: int) -> bool:
        """Whether nothing is told of it any more. What is under way does not expire."""
        return self.state == "cancelled" or (self.state != "running" and self.expires < now)


class Bulk(msgspec.Struct, frozen=True):
    """What is large of a job."""

    asked: msgspec.Raw
    plan: msgspec.Raw
    result: msgspec.Raw


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """One part of a job. Number 0 makes the plan, and so the others. `what` says what is to be done, `place` how far that has come,
    `result` what came of it: the kind's own JSON. `holder` works on it until `until`; `tries` counts those that have begun since it last
    came further."""

    job: str
    number: int
    what: msgspec.Raw = NOTHING
    place: msgspec.Raw = NOTHING
    result: msgspec.Raw = NOTHING
    holder: str = ""
    until: int = 0
    tries: int = 0
    done: bool = False

    def free(self, now: int) -> bool:
        """Whether nobody works on it. What is held for longer than anybody may was taken before a clock was set back."""
        return not now < self.until <= now + FARTHEST


def part_key(job: str, number: int) -> str:
    """The key of a part's record: parts of a job follow each other."""
    return f"{job}/{number:06d}"


def job_tag(job: str) -> str:
    """The tag that the parts of a job have."""
    return f"job:{job}"


def open_tag(job: str) -> str:
    """The tag that the parts of a job have which are not done."""
    return f"open:{job}"


def owner_tag(owner: str) -> str:
    """The tag that the jobs of an owner have."""
    return f"owner:{owner}"
