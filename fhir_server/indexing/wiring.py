"""Elasticsearch as the settings name it: the index, and the feed that follows the store into it."""

from dataclasses import dataclass

from fhir_server.config import Settings
from fhir_server.indexing.feed import Feed
from resources.store import ResourceStore
from search.extract import Extractor
from search.index import SearchIndex
from search.indexes.elastic.connection import Connection, Server
from search.indexes.elastic.index import ElasticIndex
from search.indexes.elastic.layout import Layout
from search.parameters import Parameters


@dataclass(frozen=True, slots=True)
class Elastic:
    """Elasticsearch as the settings name it."""

    connection: Connection
    layout: Layout

    @classmethod
    def of(cls, settings: Settings, parameters: Parameters) -> "Elastic":
        """That of these settings; nothing is asked of it yet."""
        key = settings.search_api_key.get_secret_value() if settings.search_api_key is not None else None
        server = Server(settings.search_url, key, settings.search_ca_file)
        return cls(Connection(server), Layout(parameters, settings.search_prefix))


def with_elasticsearch(
    store: ResourceStore, settings: Settings, parameters: Parameters, extractor: Extractor
) -> tuple[SearchIndex, Feed]:
    """The index beside a store of any kind, and its feed; neither is open yet."""
    elastic = Elastic.of(settings, parameters)
    feed = Feed(store, elastic.connection, elastic.layout, extractor, wait=settings.search_wait)
    index = ElasticIndex(
        elastic.connection,
        elastic.layout,
        limit=settings.search_timeout,
        follow=feed.caught_up,
        lost=feed.lost,
        hurry=feed.hurry,
    )
    return index, feed
