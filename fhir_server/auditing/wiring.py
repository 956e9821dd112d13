"""Checkpoints of a running server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fhir_server.auditing.checkpoints import Checkpoints
from fhir_server.auditing.keys import KeyProblem, signing_key
from fhir_server.context import Context
from resources.store import StoreUnavailable
from smart_auth.sealing import Sealer


@asynccontextmanager
async def signing(ctx: Context, secret: bytes) -> AsyncIterator[None]:
    """Makes checkpoints meanwhile, and a last one at the end. Raises StoreUnavailable, also where there is no key to sign with."""
    settings = ctx.settings
    try:
        key = await signing_key(ctx.store, Sealer(secret), settings.audit_key)
    except KeyProblem as problem:
        raise StoreUnavailable(f"the audit cannot be signed: {problem}") from None
    checkpoints = Checkpoints(ctx.store, key, ctx.clock, settings.audit_checkpoint_seconds)
    checkpoints.start()
    try:
        yield
    finally:
        await checkpoints.stop()
