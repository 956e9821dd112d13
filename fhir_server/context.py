"""Everything a handler may use, wired once in `fhir_server/app.py` and handed to every handler as its first argument."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.validate import Validator
from fhir_server.access.deciding import Deciding
from fhir_server.access.decision import Decision
from fhir_server.audit import Audit
from fhir_server.config import Settings
from fhir_server.files.contract import Files
from fhir_server.jobs.bell import Working
from fhir_server.observability import Metrics
from fhir_server.protection.limits import Limits
from fhir_server.rest.routing import Router
from fhir_server.searching.custom import CustomParameters
from resources.store import ResourceStore
from search.extract import Extractor
from search.index import SearchIndex
from search.paging import Cursors
from search.parameters import Parameters
from smart_auth.tokens import Tokens

if TYPE_CHECKING:  # it brings Elasticsearch's client along, which the embedded engine needs not
    from fhir_server.indexing.feed import Feed


@dataclass(frozen=True, slots=True)
class Context:
    """The parts of one running server. `clock` gives microseconds since the epoch, `new_id` an id for a new resource, `feed` is
    what feeds the index where that is a server of its own, `custom` the search parameters that were added to this server, `tokens`
    what looks access tokens up, `limits` how much a caller may ask for, `deciding` what a caller may see, `files` where the files of jobs
    lie, `runner` what works on jobs in this process, or tells others of them.

    A handler's `store` and `index` are views that carry the caller's `decision` (`fhir_server/access`); outside of a request they are whole
    and there is none."""

    settings: Settings
    store: ResourceStore
    index: SearchIndex
    parameters: Parameters
    extractor: Extractor
    validator: Validator
    cursors: Cursors
    audit: Audit
    routes: "Router[Context]"
    metrics: Metrics
    clock: Callable[[], int]
    new_id: Callable[[], str]
    custom: CustomParameters
    tokens: Tokens
    limits: Limits
    deciding: Deciding
    files: Files
    feed: "Feed | None" = None
    decision: Decision | None = None
    runner: Working | None = None
