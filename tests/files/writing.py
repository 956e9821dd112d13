"""Write a file and wait to be killed: `python writing.py KIND PLACE NAME BYTES`, KIND is `folder` or `bucket`, PLACE a path or JSON."""

import asyncio
import json
import sys
from pathlib import Path

from fhir_server.files.bucket import Bucket
from fhir_server.files.contract import Files
from fhir_server.files.folder import Folder
from fhir_server.files.place import Place


async def main(place: Files, name: str, size: int) -> None:
    """Says `written` when so much was written; the file is not ended then."""
    async with place.writing(name, "text/plain") as writer:
        for _ in range(size >> 16):
            await writer.write(b"x" * (1 << 16))
        print("written", flush=True)
        await asyncio.sleep(60)


if __name__ == "__main__":
    kind, where, name, size = sys.argv[1:]
    asyncio.run(main(Folder(Path(where)) if kind == "folder" else Bucket(Place(**json.loads(where))), name, int(size)))
