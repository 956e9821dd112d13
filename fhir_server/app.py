"""The composition root: settings in, a running server out. Nothing else in the project makes a store, an index or a context."""

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

from fastapi import FastAPI, Response
from starlette.types import Receive, Scope, Send

from conformance.load import definitions
from conformance.validate import Validator
from fhir_server.access.deciding import Deciding
from fhir_server.access.judging import Judge
from fhir_server.audit import Audit
from fhir_server.auditing.wiring import signing
from fhir_server.config import Settings
from fhir_server.context import Context
from fhir_server.data_folder import secret
from fhir_server.files.wiring import open_files
from fhir_server.jobs.wiring import working
from fhir_server.observability import Metrics, log_lost_failure
from fhir_server.protection.door import Door
from fhir_server.protection.limits import Limits
from fhir_server.randomness import random_bytes
from fhir_server.rest.edge import Edge
from fhir_server.rest.front import Front
from fhir_server.rest.routing import Router
from fhir_server.routes import ROUTES
from fhir_server.searching.custom import CustomParameters
from fhir_server.signing_in.elsewhere import elsewhere
from fhir_server.signing_in.mount import mounted
from fhir_server.signing_in.wiring import make_service
from resources import instants
from resources.store import ResourceStore, StoreUnavailable
from resources.stores.memory import MemoryStore
from resources.stores.sqlite import SqliteStore
from resources.stores.sqlite.rebuild import rebuild
from search.extract import Extractor
from search.index import Preparing, SearchIndex, TooCostly
from search.indexes.memory import MemoryIndex
from search.indexes.sqlite.index import SqliteIndex
from search.indexes.sqlite.schema import LAYOUT
from search.paging import Cursors
from search.parameters import Parameters, registry
from search.parse import parse
from search.query import Query
from smart_auth.outside.discovery import routes as outside_routes
from smart_auth.outside.tokens import OutsideTokens
from smart_auth.outside.wiring import tokens_of
from smart_auth.routes import ROUTES as SIGN_IN_ROUTES
from smart_auth.service import Service

if TYPE_CHECKING:
    from fhir_server.indexing.feed import Feed

log = logging.getLogger(__name__)

PREFIX = "/fhir"
WELL_KNOWN = PREFIX + "/.well-known/"


class Application:
    """The ASGI application of one process: the FHIR interface in front, FastAPI for everything beside it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._edge: Edge | None = None
        self.beside = FastAPI(lifespan=self._lifespan, docs_url=None, redoc_url=None, openapi_url=None)
        front = Front(settings.base_url, PREFIX, signing_in=settings.auth == "smart")
        self.beside.add_route("/", front.welcome)
        self.beside.add_exception_handler(404, front.nothing)
        self._add_health()
        self._door = Door(self._inside, settings, PREFIX, SIGN_IN_ROUTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's HTTP request, or the lifespan."""
        await self._door(scope, receive, send)

    async def _inside(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        fhir = path.startswith(PREFIX + "/") or path == PREFIX
        if fhir and self._edge is not None and scope["type"] == "http" and not path.startswith(WELL_KNOWN):
            await self._edge(scope, receive, send)
        else:
            await self.beside(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        async with open_context(self._settings) as ctx:
            self._ctx = ctx
            asyncio.get_running_loop().set_exception_handler(log_lost_failure)
            if isinstance(ctx.index, SqliteIndex) and (sentence := ctx.index.doubt()):  # the feed of an outside index has its own
                log.warning(sentence)
            if self._settings.auth == "smart":
                service = make_service(ctx, secret(self._settings))
                rows = outside_routes(ctx.tokens) if isinstance(ctx.tokens, OutsideTokens) else SIGN_IN_ROUTES
                self.beside.router.routes.extend((*(mounted(row, service, ctx) for row in rows), *elsewhere(rows, service)))
            async with signing(ctx, secret(self._settings)), working(ctx) as runner:
                self._ctx = replace(ctx, runner=runner)
                self._edge = Edge(self._ctx, PREFIX)
                calm_collector()
                yield
            self._edge = None

    def _add_health(self) -> None:
        @self.beside.get("/livez")
        async def livez() -> Response:
            return Response("ok\n", media_type="text/plain")

        @self.beside.get("/readyz")
        async def readyz() -> Response:
            try:
                await self._ctx.store.read("Patient", "-")
                if self._ctx.feed is None:  # without Elasticsearch all but searches goes on
                    with suppress(Preparing):  # the first Patients are being loaded
                        await self._ctx.index.search(_nobody(self._ctx))
            except (StoreUnavailable, TooCostly) as failure:
                return Response(f"{failure}\n", status_code=503, media_type="text/plain")
            return Response("ok\n", media_type="text/plain")

        @self.beside.get("/metrics")
        async def metrics() -> Response:
            text = self._ctx.metrics.render()
            if self._ctx.runner is not None:
                with suppress(StoreUnavailable):
                    text += "\n".join((*await self._ctx.runner.counts.metrics(self._ctx.clock()), ""))
            if self._ctx.feed is not None:
                with suppress(StoreUnavailable):
                    text += "\n".join((*await self._ctx.feed.metrics(), ""))
            return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _nobody(ctx: Context) -> Query:
    """A search that has to look into the index and finds nothing."""
    parsed = parse("Patient", "identifier=-&_total=none", parameters=ctx.parameters, base_url=ctx.settings.bases, default_count=1)
    return parsed.query


def calm_collector() -> None:
    """What was loaded at start lives as long as the process: the collector need not look at it again and again (a third of the CPU
    of a large transaction otherwise). Requests leave hardly any cycles behind, so it runs more rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def create_app(settings: Settings) -> Application:
    """The ASGI application. The store opens with the lifespan, not before."""
    return Application(settings)


@asynccontextmanager
async def open_context(settings: Settings, *, feeding: bool = True) -> AsyncIterator[Context]:
    """A Context with its store open; for the server and for commands that work on the store itself. `feeding`: whether this process may
    be the one that feeds an index outside the store. Raises StoreUnavailable."""
    official, parameters = registry(), registry().extensible()
    extractor = Extractor(official, settings.bases, texts=settings.elastic or settings.in_memory)
    async with (
        _engines(settings, official, extractor, feeding) as (store, index, feed),
        _custom(store, index, parameters) as custom,
        aclosing(Limits(settings)) as limits,
    ):
        yield Context(
            settings=settings,
            store=store,
            index=index,
            parameters=parameters,
            extractor=extractor,
            validator=Validator(definitions()),
            cursors=Cursors(secret(settings), _index(settings)),
            audit=Audit(settings.base, settings.bases),
            routes=Router(ROUTES, parameters.types),
            metrics=Metrics(),
            clock=instants.now,
            new_id=new_id,
            feed=feed,
            custom=custom,
            tokens=tokens_of(settings, settings.bases, store, instants.now),
            limits=limits,
            deciding=Deciding(store, settings.bases, Judge(extractor, official)),
            files=open_files(settings),
        )


@asynccontextmanager
async def open_service(settings: Settings) -> AsyncIterator[Service]:
    """What sign-in works with, for commands that manage users, clients and keys. Raises StoreUnavailable."""
    async with open_context(settings) as ctx:
        yield make_service(ctx, secret(settings))


@asynccontextmanager
async def _custom(store: ResourceStore, index: SearchIndex, parameters: Parameters) -> AsyncIterator[CustomParameters]:
    """What follows the search parameters that are added to this server."""
    custom = CustomParameters(store, index, parameters)
    await custom.start()
    try:
        yield custom
    finally:
        await custom.stop()


Engines = tuple[ResourceStore, SearchIndex, "Feed | None"]


@asynccontextmanager
async def _engines(settings: Settings, parameters: Parameters, extractor: Extractor, feeding: bool) -> AsyncIterator[Engines]:
    """The store, the index, and what feeds the index if it is outside the store, as the settings choose them, open.

    Elasticsearch's client is loaded only where it is used: it takes 25 MB and a second.
    """
    store: ResourceStore
    index: SearchIndex
    feed: Feed | None
    if settings.elastic:
        from fhir_server.indexing.wiring import with_elasticsearch

        store = make_store(settings)
        index, feed = with_elasticsearch(store, settings, parameters, extractor)
    else:
        store, index = _embedded(settings, parameters, extractor)
        feed = None
    await store.open()
    try:
        await index.open()
        if feed is not None:
            feed.start(feeding=feeding)
        yield store, index, feed
    finally:
        if feed is not None:
            await feed.stop()
        await index.close()
        await store.close()


def _embedded(settings: Settings, parameters: Parameters, extractor: Extractor) -> tuple[ResourceStore, SearchIndex]:
    """Documents and search in one place."""
    if settings.in_memory:
        beside = MemoryIndex(parameters, extractor)
        memory = MemoryStore(participant=beside)
        beside.follow(memory)
        return memory, beside

    async def settle() -> object:
        return await store.settle()

    index = SqliteIndex(settings.database, parameters, extractor, settle=settle, limit=settings.search_timeout)
    store = SqliteStore(settings.database, participant=index, synchronous=settings.synchronous)
    index.follow(store)
    return store, index


def make_store(settings: Settings) -> ResourceStore:
    """The store that the settings choose, without a search index in it. Drivers are loaded only where they are used."""
    if settings.store == "mongodb":
        from resources.stores.mongo import MongoStore

        return MongoStore(settings.store_url, driver=settings.mongo_driver)
    if settings.store == "postgresql":
        from resources.stores.postgres import PostgresStore

        return PostgresStore(settings.store_url)
    return MemoryStore() if settings.in_memory else SqliteStore(settings.database, synchronous=settings.synchronous)


def make_target(settings: Settings) -> ResourceStore:
    """The store that the settings choose, to be written to: with the search index that lives in it, if one does."""
    if settings.elastic or settings.store not in ("sqlite", "memory"):
        return make_store(settings)
    parameters = registry()
    return _embedded(settings, parameters, Extractor(parameters, settings.bases))[0]


def rebuild_embedded(settings: Settings, begin: Callable[[int], None], watch: Callable[[str, int], None]) -> None:
    """Build the whole embedded index anew, while no server uses it (see `resources.stores.sqlite.rebuild`). Raises StoreUnavailable."""
    parameters = registry()
    index = SqliteIndex(settings.database, parameters, Extractor(parameters, settings.bases))
    rebuild(settings.database, index, begin, watch)


def _index(settings: Settings) -> str:
    """What page links hold places of."""
    if settings.elastic:
        from search.indexes.elastic.layout import LAYOUT as ELASTIC

        return f"elasticsearch {ELASTIC}"
    return f"sqlite {LAYOUT}"


def new_id() -> str:
    """A UUID of version 7: it begins with the time, so that new rows are neighbours in every index, and cannot be guessed."""
    value = time.time_ns() // 1_000_000 << 80 | int.from_bytes(random_bytes(10), "big")
    value = value & ~(0xF000 << 64) | 0x7000 << 64
    return str(UUID(int=value & ~(0xC000 << 48) | 0x8000 << 48))
