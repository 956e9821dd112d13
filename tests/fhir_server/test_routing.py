"""Which row of the REST table a method and a path mean: http://hl7.org/fhir/R4/http.html#summary"""

import pytest

from fhir_server.rest.routing import Router
from fhir_server.routes import ROUTES
from resources.outcomes import FhirError
from search.parameters import registry

ROUTER = Router(ROUTES, registry().types)


@pytest.mark.parametrize(
    ("method", "path", "interaction", "names"),
    [
        ("GET", "metadata", "capabilities", ("", "", "", "")),
        ("POST", "", "batch", ("", "", "", "")),
        ("GET", "_history", "history-system", ("", "", "", "")),
        ("GET", "$meta", "operation", ("", "", "", "$meta")),
        ("GET", "Patient", "search-type", ("Patient", "", "", "")),
        ("GET", "Patient/", "search-type", ("Patient", "", "", "")),
        ("POST", "Patient/_search", "search-type", ("Patient", "", "", "")),
        ("POST", "Patient", "create", ("Patient", "", "", "")),
        ("PUT", "Patient", "update", ("Patient", "", "", "")),
        ("GET", "Patient/1", "read", ("Patient", "1", "", "")),
        ("HEAD", "Patient/1", "read", ("Patient", "1", "", "")),
        ("GET", "Patient/%31", "read", ("Patient", "1", "", "")),
        ("GET", "Patient/metadata", "read", ("Patient", "metadata", "", "")),
        ("DELETE", "Patient/a.b-C", "delete", ("Patient", "a.b-C", "", "")),
        ("GET", "Patient/1/_history", "history-instance", ("Patient", "1", "", "")),
        ("GET", "Patient/1/_history/2", "vread", ("Patient", "1", "2", "")),
        ("GET", "Patient/1/Observation", "search-type", ("Patient", "1", "", "Observation")),
        ("POST", "Patient/1/Observation/_search", "search-type", ("Patient", "1", "", "Observation")),
        ("GET", "Patient/1/$everything", "operation", ("Patient", "1", "", "$everything")),
        ("POST", "Patient/$validate", "operation", ("Patient", "", "", "$validate")),
    ],
)
def test_finds_the_row_and_its_parts(method: str, path: str, interaction: str, names: tuple[str, ...]) -> None:
    """Each form of URL leads to its interaction, with the parts decoded."""
    route, *found = ROUTER.find(method, path)
    assert (route.interaction, tuple(found)) == (interaction, names)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "Patientt/1", 404),
        ("GET", "Patient/1/_history/2/3", 404),
        ("GET", "Patient/1/2/3/4", 404),
        ("GET", "Patient//_history", 404),
        ("GET", "Patient/$nothing", 404),
        ("GET", "Practitioner/1/$everything", 404),
        ("GET", "Organization/1/Observation", 404),
        ("GET", "Patient/a_b", 404),
        ("PUT", "Patient/a_b", 400),
        ("PATCH", "metadata", 405),
        ("POST", "Patient/1", 405),
        ("get", "Patient/1", 405),
    ],
)
def test_refuses(method: str, path: str, status: int) -> None:
    """What is no path of the API is 404, a method that a path lacks 405, writing under what is no id 400."""
    with pytest.raises(FhirError) as refused:
        ROUTER.find(method, path)
    assert refused.value.status == status
    assert ("Allow" in refused.value.headers) is (status == 405)


def test_each_row_says_what_a_caller_needs() -> None:
    """Letters of SMART scopes. Rows without them give nothing away by themselves, or decide by what is asked for: $export below a patient
    by its types, views by the type that they are of, jobs by whose they are and, for a file, by its types."""
    assert all(set(route.access) <= set("cruds") for route in ROUTES)
    without = {route.label for route in ROUTES if not route.access}
    assert without == {
        *("capabilities", "batch", "$validate", "$reindex"),
        *("$export", "$job", "$run", "$viewdefinition-export", "$viewdefinition-run"),
    }
    assert {route.label for route in ROUTES if route.administers} == {"$reindex"}
    changing = {route.label for route in ROUTES if route.alters}
    assert changing == {"update", "patch", "delete", "$meta-add", "$meta-delete"}
    assert all("s" in route.access for route in ROUTES if route.conditional)
