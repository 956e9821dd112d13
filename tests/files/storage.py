"""Buckets of a real S3 server for tests."""

from uuid import uuid4

from services.running import service

from fhir_server.files.place import Place

KEY, SECRET = "fhir", "fhir-secret-key"
BUCKET = "files"


def bucket_place(endpoint: str = "", **changed: object) -> Place:
    """An empty prefix of a test's own in the bucket of the running server, or of the one at `endpoint`."""
    settings = {"bucket": BUCKET, "prefix": f"test/{uuid4().hex[:12]}", "access_key": KEY, "secret_key": SECRET, "plain_http": True}
    return Place(**{**settings, "endpoint": endpoint or service("versitygw"), **changed})  # type: ignore[arg-type]
