"""Generated values of one element together (composites), places, and texts beside codes: every index finds what search.match says."""

import asyncio
from collections.abc import Iterator

import pytest
from contracts.checking import document
from contracts.elastic_harness import Elastic
from contracts.index_harness import ASKED, HELD, Database, parameter, put
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.stores.participant import Applied
from search.match import Alone, matches
from search.query import Clause, Modifier, Query, Term
from search.types.composite import joined
from search.values import CompositeValue, LabelValue, PositionValue, TokenValue, Value

Filled = Database | Elastic
FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

COMPOSITES = [
    ("Observation", "component-code-value-quantity"),
    ("Observation", "component-code-value-concept"),
    ("DocumentReference", "relationship"),
]
_places = st.builds(PositionValue, st.sampled_from([-90.0, 0.0, 48.2, 48.3, 89.9]), st.sampled_from([-180.0, -179.9, 16.37, 180.0]))
_labels = st.builds(LabelValue, st.text("aä b", min_size=1, max_size=4), st.sampled_from(["a", "b"]))


def held(type: str, code: str) -> st.SearchStrategy[Value]:
    """Values of a composite, each of its components' kinds."""
    kinds = [component.parameter.kind for component in parameter(type, code).components]
    return st.tuples(*(HELD[kind] for kind in kinds)).map(CompositeValue)


def asked(type: str, code: str) -> st.SearchStrategy[Term]:
    """Terms for a composite."""
    kinds = [component.parameter.kind for component in parameter(type, code).components]
    return st.tuples(*(ASKED[kind] for kind in kinds)).map(joined)


@pytest.fixture(scope="module", params=["sqlite", "elastic"])
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """An index that every example uses again."""
    made = Elastic() if request.param == "elastic" else Database(tmp_path_factory.mktemp("index") / "a.sqlite")
    yield made
    made.close()


def check(filled: Filled, query: Query, made: list[Applied]) -> None:
    filled.clear()
    filled.update(made)

    async def search() -> list[str]:
        await filled.index.open()
        try:
            return sorted(key.id for key in (await filled.index.search(query)).keys)
        finally:
            await filled.index.close()

    assert asyncio.run(search()) == sorted(each.id for each in made if matches(query, document(each), Alone()))


def written(type: str, key: str, found: list[list[Value]]) -> list[Applied]:
    return [put(n, type, str(n), {key: values}) for n, values in enumerate(found, 1)]


@pytest.mark.parametrize(("type", "code"), COMPOSITES)
@FEW
@given(data=st.data())
def test_parts_of_one_element(index: Filled, type: str, code: str, data: st.DataObject) -> None:
    """All parts of a term hold of one and the same element."""
    found = data.draw(st.lists(st.lists(held(type, code), max_size=3), max_size=6))
    terms = data.draw(st.lists(asked(type, code), min_size=1, max_size=2))
    query = Query(type, (Clause(parameter(type, code), Modifier.NONE, tuple(terms)),))
    check(index, query, written(type, code, found))


@FEW
@given(found=st.lists(st.lists(_places, max_size=1), max_size=6), centre=_places, radius=st.sampled_from([0.5, 12_000.0, 3e6, 3e7]))
def test_near(index: Filled, found: list[list[Value]], centre: PositionValue, radius: float) -> None:
    """Places within a distance, over the poles and the line of dates too."""
    asked = Term(centre._replace(radius=radius))
    check(
        index,
        Query("Location", (Clause(parameter("Location", "near"), Modifier.NONE, (asked,)),)),
        written("Location", "near", found),
    )


@FEW
@given(found=st.lists(st.lists(_labels, max_size=2), max_size=6), text=st.text("aä b", min_size=1, max_size=2))
def test_texts_beside_codes(index: Filled, found: list[list[LabelValue]], text: str) -> None:
    """Texts that begin so."""
    made = []
    for n, labels in enumerate(found, 1):
        codes = [TokenValue("", label.code or "") for label in labels]
        made.append(put(n, "Observation", str(n), {"code": [*codes], "code:text": [*labels]}))
    clause = Clause(parameter("Observation", "code"), Modifier.TEXT, (Term(LabelValue(text)),))
    check(index, Query("Observation", (clause,)), made)
