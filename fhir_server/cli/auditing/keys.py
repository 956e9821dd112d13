"""`fhir-server audit keys` and `fhir-server audit rotate-key`."""

import asyncio
import json

import typer

from fhir_server.audit import Audit
from fhir_server.auditing.keys import public_keys, rotate
from fhir_server.cli.auditing.opening import opened
from fhir_server.cli.options import DataDir
from fhir_server.cli.show import err, escaped, fail, out
from fhir_server.config import Settings, load_settings
from fhir_server.data_folder import secret
from smart_auth.happenings import Happening
from smart_auth.sealing import Sealer


def keys(data_dir: DataDir = None) -> None:
    """Print the public keys that checkpoints are verified with, as a JWK set: keep it where whoever reaches the database does not."""

    async def run(settings: Settings) -> None:
        async with opened(settings) as store:
            believed, doubtful = await public_keys(store, Sealer(secret(settings)))
        for name in doubtful:
            err.print(f"[red]not believed:[/] {escaped(name)}")
        found = [{"kid": name, "alg": "Ed25519", "use": "sig", **each.as_dict(private=False)} for name, each in believed.items()]
        typer.echo(json.dumps({"keys": found}, indent=2))

    asyncio.run(run(load_settings({"data_dir": data_dir})))


def rotate_key(data_dir: DataDir = None) -> None:
    """Make a new key that signs checkpoints from now on; servers take it at their next start. Earlier ones are verified as before."""

    async def run(settings: Settings) -> None:
        event = Audit(settings.base).happening(
            Happening("keys", "a new key for checkpoints of the audit was made on the command line", subject="fhir-server audit")
        )
        async with opened(settings) as store:
            made = await rotate(store, Sealer(secret(settings)), event)
        out.print(f"{made.thumbprint()} signs from now on; start the servers anew")

    settings = load_settings({"data_dir": data_dir})
    if settings.audit_key is not None:
        fail("FHIR_AUDIT_KEY names the key: put another one into that file")
    asyncio.run(run(settings))
