"""Documents are checked once, and large ones beside the event loop (fhir_server/interactions/accept.py)."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from conformance.validate import Validator
from fhir_server.app import open_context
from fhir_server.config import Settings
from fhir_server.context import Context
from fhir_server.interactions.accept import LARGE
from fhir_server.messages import FhirRequest, FhirResult, Identity
from fhir_server.perform import answer
from resources.outcomes import Issue

FHIR = {"content-type": "application/fhir+json"}
WRITERS = 12


@dataclass
class Watched:
    """A validator that notes in which thread each document was checked."""

    inner: Validator
    threads: list[int] = field(default_factory=list)

    def check(self, type: str, document: dict[str, Any]) -> Sequence[Issue]:
        self.threads.append(threading.get_ident())
        return self.inner.check(type, document)


Work = Callable[[Context], Awaitable[Sequence[FhirResult]]]


def watched(folder: Path, work: Work) -> tuple[list[int], list[FhirResult]]:
    """The threads of the checks that `work` led to (0: the event loop's own), and the answers."""

    async def run() -> tuple[list[int], list[FhirResult]]:
        async with open_context(Settings(data_dir=folder, auth="off", store_url="memory://")) as ctx:
            validator = Watched(ctx.validator)
            answers = await work(replace(ctx, validator=cast(Validator, validator)))
        own = threading.get_ident()
        return [0 if thread == own else thread for thread in validator.threads], list(answers)

    return asyncio.run(run())


def send(ctx: Context, method: str, url: str, body: Any, **headers: str) -> Awaitable[FhirResult]:
    path, _, query = url.partition("?")
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return answer(ctx, Identity(), FhirRequest(method, path, query, json.dumps(body).encode(), FHIR | names, ctx.settings.base))


def patient(**more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "identifier": [{"value": "one"}], **more}


BIG = patient(id="big", name=[{"family": "x" * 80}] * (LARGE // 80))
TAGGED = {"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": {"tag": [{"code": "x"}]}}]}
PATCH = [{"op": "add", "path": "/active", "value": True}]

LARGE_WRITES: dict[str, tuple[str, str, Any, dict[str, str]]] = {
    "create": ("POST", "Patient", BIG, {}),
    "update": ("PUT", "Patient/big", BIG, {}),
    "conditional create": ("POST", "Patient", BIG, {"if_none_exist": "identifier=other"}),
    "conditional update": ("PUT", "Patient?identifier=one", BIG, {}),
    "patch": ("PATCH", "Patient/big", PATCH, {"content_type": "application/json-patch+json"}),
    "conditional patch": ("PATCH", "Patient?identifier=one", PATCH, {"content_type": "application/json-patch+json"}),
    "$meta-add": ("POST", "Patient/big/$meta-add", TAGGED, {}),
    "transaction": (
        "POST",
        "",
        {
            "resourceType": "Bundle",
            "type": "transaction",
            "entry": [{"resource": BIG, "request": {"method": "PUT", "url": "Patient/big"}}],
        },
        {},
    ),
}


@pytest.mark.parametrize("kind", LARGE_WRITES)
def test_a_large_document_is_checked_beside_the_loop(tmp_path: Path, kind: str) -> None:
    """Whatever brings it in: other requests are served while it is checked."""

    async def work(ctx: Context) -> list[FhirResult]:
        method, url, body, headers = LARGE_WRITES[kind]
        return [await send(ctx, "PUT", "Patient/big", BIG), await send(ctx, method, url, body, **headers)]

    threads, answers = watched(tmp_path, work)
    assert [a.status for a in answers] in ([201, 200], [201, 201])
    assert len(threads) == 2 and 0 not in threads


def test_a_small_document_is_checked_at_once(tmp_path: Path) -> None:
    """A thread would cost more than the check."""

    async def work(ctx: Context) -> list[FhirResult]:
        return [await send(ctx, "POST", "Patient", patient())]

    assert watched(tmp_path, work)[0] == [0]


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_lost_race_does_not_check_again(tmp_path: Path, method: str) -> None:
    """Of many conditional writes at once each is checked once at most, however often it has to look again."""

    async def work(ctx: Context) -> Sequence[FhirResult]:
        url, headers = ("Patient?identifier=one", {}) if method == "PUT" else ("Patient", {"if_none_exist": "identifier=one"})
        return await asyncio.gather(*(send(ctx, method, url, patient(multipleBirthInteger=n), **headers) for n in range(WRITERS)))

    threads, answers = watched(tmp_path, work)
    assert sorted(a.status for a in answers) == [200] * (WRITERS - 1) + [201]
    assert len(threads) == WRITERS if method == "PUT" else 1 <= len(threads) <= WRITERS


@pytest.mark.parametrize(
    ("more", "added"),
    [
        ({}, ["here"]),
        ({"status": "draft"}, []),
        ({"url": "http://hl7.org/fhir/SearchParameter/Patient-active"}, []),
    ],
)
def test_what_a_stored_definition_adds(tmp_path: Path, more: dict[str, str], added: list[str]) -> None:
    """An active definition adds a parameter; drafts and the official definitions are stored and add nothing."""
    own = {
        "resourceType": "SearchParameter",
        "url": "http://example.org/fhir/SearchParameter/here",
        "name": "here",
        "description": "Whether somebody is there",
        "status": "active",
        "code": "here",
        "base": ["Patient"],
        "type": "token",
        "expression": "Patient.active",
        **more,
    }
    defined: list[str] = []

    async def work(ctx: Context) -> list[FhirResult]:
        answers = [await send(ctx, "POST", "SearchParameter", own)]
        defined.extend(parameter.code for parameter in ctx.custom.defined)
        return answers

    assert [result.status for result in watched(tmp_path, work)[1]] == [201]
    assert defined == added
