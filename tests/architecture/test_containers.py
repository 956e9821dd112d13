"""The container files keep to docs/adr/0006: nothing is published without sign-in by accident."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
LAST_STAGE = DOCKERFILE.rpartition("\nFROM ")[2]


def services() -> dict[str, Any]:
    """The services of docker-compose.yml."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    return found


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
            assert service["ports"], name
            assert all(str(port).startswith("127.0.0.1:") for port in service["ports"]), name
            assert service.get("network_mode") != "host"


def test_the_build_sees_only_what_it_needs() -> None:
    """.dockerignore lets nothing in that it does not name: no data folder, no .env, no .git."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert next(line for line in lines if line and not line.startswith("#")) == "*"
    assert not {"!data", "!.env", "!.git"} & set(lines)
