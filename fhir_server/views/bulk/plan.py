"""How an export of views is cut into parts: by view, and by the positions at which the store has the documents of its type."""

import msgspec

from fhir_server.access.views import stored
from fhir_server.exporting.cohort import keep_cohort
from fhir_server.exporting.deidentified.binding import check_job
from fhir_server.exporting.plan import first_after, position_before, windows
from fhir_server.jobs.work import Plan, Task
from fhir_server.views.bulk.asked import Asked
from fhir_server.views.narrowing import cohort_of


class Whole(msgspec.Struct, frozen=True, omit_defaults=True):
    """What all parts have in common: the snapshot's position and its instant (microseconds since the epoch), the position above which
    documents count, and whether patients are named."""

    position: int
    instant: int
    after: int = 0
    cohort: bool = False


class Span(msgspec.Struct, frozen=True):
    """One part: the documents whose current versions lie above position `after`, up to `until`, through a view (its number, from 0)."""

    view: int
    after: int
    until: int


async def plan(task: Task) -> Plan:
    """The spans of an export. Raises FhirError where a Group is not there any more."""
    asked = msgspec.json.decode(task.job.asked, type=Asked)
    check_job(task.ctx.settings, task.who, task.job)
    store = stored(task.ctx)
    position = await store.position()
    newest = await first_after(store, position - 1)
    cohort = await cohort_of(task.ctx, task.who, asked.patients, asked.groups, asked.base, task.job.created)
    if cohort is not None:
        await keep_cohort(task, cohort)
    instant = newest.instant if newest is not None else task.ctx.clock()
    # "updated since": what was written at this very instant is not later
    after = await position_before(store, asked.since + 1, position) if asked.since else 0
    types = [view.type for view in asked.views]
    ends = await store.newest(types)
    spans = [
        Span(number, window.after, window.until)
        for number, (type, last) in enumerate(zip(types, ends, strict=True))
        for window in windows(type, after, min(last, position))
    ]
    return Plan(Whole(position, instant, after, cohort is not None), spans)
