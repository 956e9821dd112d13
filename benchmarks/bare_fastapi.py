"""The floor: a FastAPI route that does nothing but return a document. Usage: bare_fastapi.py PORT FILE."""

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Response

app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
body = b""


@app.get("/fhir/Patient/{id}")
async def read(id: str) -> Response:
    """Whatever the id, the same bytes."""
    return Response(body, media_type="application/fhir+json")


if __name__ == "__main__":
    body = Path(sys.argv[2]).read_bytes()
    uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_level="warning")
