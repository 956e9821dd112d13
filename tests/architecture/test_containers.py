"""The container files keep to docs/adr/0006: nothing is published without sign-in by accident."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from fhir_server.config import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
LAST_STAGE = DOCKERFILE.rpartition("\nFROM ")[2]


COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


def services() -> dict[str, Any]:
    """The services of docker-compose.yml."""
    found: dict[str, Any] = COMPOSE["services"]
    return found


def test_the_compose_file_keeps_to_its_specification() -> None:
    """A validator of the Compose Specification accepts it, and all that services, volumes and dependencies name is there."""
    plain = {name: value for name, value in COMPOSE.items() if not name.startswith("x-")}  # with its anchors put in
    PyCompose.from_yaml(yaml.safe_dump(plain)).validate()
    assert [name for name, service in services().items() if "profiles" not in service] == ["fhir"]
    for service in services().values():
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"} and services()[needed]["healthcheck"]["test"]
            assert set(service["profiles"]) <= set(services()[needed]["profiles"])


@pytest.mark.parametrize("name", [name for name, service in services().items() if service.get("image") == "fhir-server"])
def test_the_servers_of_the_compose_file_start_with_these_settings(name: str) -> None:
    """Every setting is one, and together they are accepted; engines are named as the services are."""
    given = {variable.removeprefix("FHIR_").lower(): value for variable, value in services()[name]["environment"].items()}
    settings = Settings(**given, host="0.0.0.0")
    assert set(given) <= set(Settings.model_fields)
    for url in (settings.store_url, settings.search_url):
        host = re.search(r"://(?:[^@/]*@)?([a-z]+)[:/]", url)
        assert host is None or host.group(1) in services()[name]["depends_on"]


def test_engines_without_sign_in_are_not_published() -> None:
    """Databases of the compose file are reached by its servers only."""
    assert all("ports" not in service for service in services().values() if service["image"] != "fhir-server")


def test_the_image_does_not_turn_sign_in_off() -> None:
    """Neither setting that opens the door is in the image."""
    assert not re.search(r"^[^#]*(FHIR_AUTH|FHIR_UNAUTHENTICATED_ADDRESS)", DOCKERFILE, re.MULTILINE)


def test_the_image_runs_as_a_user_of_its_own_from_the_source_tree() -> None:
    """Not root, PYTHONPATH=/app, data under /data, and it says whether it is ready."""
    assert re.search(r"^USER (?!root|0\b)\S+$", LAST_STAGE, re.MULTILINE)
    assert "PYTHONPATH=/app" in LAST_STAGE
    assert re.search(r"^VOLUME /data$", LAST_STAGE, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK [^\n]*(\\\n[^\n]*)*/readyz", LAST_STAGE, re.MULTILINE)


def test_what_has_no_sign_in_is_published_on_loopback_only() -> None:
    """Every port of a service with FHIR_AUTH=off is bound to 127.0.0.1 of the host."""
    for name, service in services().items():
        if service.get("environment", {}).get("FHIR_AUTH") == "off":
            assert "ports" in service or name.startswith("worker-"), name
            assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", ())), name
            assert service.get("network_mode") != "host"


def test_the_build_sees_only_what_it_needs() -> None:
    """.dockerignore lets nothing in that it does not name: no data folder, no .env, no .git."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert next(line for line in lines if line and not line.startswith("#")) == "*"
    assert not {"!data", "!.env", "!.git"} & set(lines)
