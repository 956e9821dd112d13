"""What the owner of a job may still have done: a token's client, user and authorization may have ended since it was begun."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from fhir_server.access.views import seen
from fhir_server.context import Context
from fhir_server.files.contract import Files
from fhir_server.jobs.job import Job, Part, Problem
from fhir_server.jobs.work import Failed, Keep, Task
from fhir_server.messages import FhirRequest, Identity, Trail
from smart_auth.access import OPERATOR, Access
from smart_auth.clients import find_client
from smart_auth.issuing.authorization import KIND as AUTHORIZATION
from smart_auth.narrowing import common
from smart_auth.scopes import parse_scopes
from smart_auth.users import find_user

OUTSIDE = 86_400_000_000
"""Microseconds after the end of another server's token for which a job goes on that was begun with it."""


async def task_of(ctx: Context, files: Files, job: Job, part: Part, keep: Keep, awaited: Callable[[], Awaitable[bool]]) -> Task:
    """A part, with what the job's owner may see, decided anew: with what patients have consented to by now. `ctx` sees everything. Raises
    Failed where the owner may do nothing any more, FhirError, StoreUnavailable."""
    access = job.access
    who = Identity(access.subject, access.client, job.address, access) if access is not None else Identity(address=job.address)
    headers = {"purpose-of-use": job.purpose} if job.purpose else {}
    request = FhirRequest(job.method, job.path, job.query, headers=headers, trail=Trail(job=f"$job/{job.id}"))
    return await Task(ctx, files, job, part, keep, who, request, partial(_decided, ctx), awaited).decided()


async def _decided(ctx: Context, task: Task) -> Task:
    await check_owner(ctx, task.job.access)
    return replace(task, ctx=seen(ctx, await ctx.deciding.decide(task.who, task.request), "rs"))


async def check_owner(ctx: Context, access: Access | None) -> None:
    """Raises Failed where the client or the user was disabled or removed, or may do less than then, or the user has taken back what was
    authorized. `ctx` sees everything. What became of the owner of another server's token is not known here, and the job ends a day after
    the token. Raises StoreUnavailable."""
    if access is None or access.client == OPERATOR:
        return
    if ctx.settings.auth_issuer:
        if access.expires + OUTSIDE < ctx.clock():
            raise Failed(Problem(403, "expired", "The token that the job was begun with has expired a day ago, so it was stopped"))
        return
    client = await find_client(ctx.store, access.client)
    if client is None:
        raise _ended("Its client was disabled or removed")
    scopes = parse_scopes(access.scopes)
    if common(scopes, client.most, words=False).resources != scopes.resources:
        raise _ended("Scopes were taken from its client")
    if access.role:
        user = await find_user(ctx.store, access.subject)
        if user is None or user.disabled:
            raise _ended("Its user was disabled or removed")
        if user.role != access.role:
            raise _ended("The role of its user was changed")
    if access.grant and await ctx.store.record(AUTHORIZATION, access.grant) is None:
        raise _ended("What its user had authorized was taken back")


def _ended(text: str) -> Failed:
    return Failed(Problem(403, "forbidden", f"{text} while the job was under way, so it was stopped"))
