"""`fhir-server serve`."""

import os
import signal
import socket
import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from fhir_server.cli.advice import advice
from fhir_server.cli.options import DataDir
from fhir_server.cli.show import err, escaped, fail
from fhir_server.config import Settings, load_settings, variable
from fhir_server.data_folder import prepare

if TYPE_CHECKING:
    from ssl import SSLContext

    from fhir_server.app import Application

SAMPLE = Path(__file__).resolve().parents[2] / "sample_data"
GRACE = 20
"""Seconds that requests under way have to finish when the server is asked to stop."""

KEEP_ALIVE = 75
"""Seconds that a connection is kept on which nothing is asked: longer than load balancers and pools of clients keep theirs (60 commonly).
Whoever closes first has to be the one who asks, or a request is lost that was sent at that moment."""


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (FHIR_HOST).", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 takes a free one (FHIR_PORT).", show_default="8000")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Server processes (FHIR_WORKERS).", show_default="1")] = None,
    data_dir: DataDir = None,
    auth: Annotated[
        str | None,
        typer.Option(help="smart, or off on loopback addresses (FHIR_AUTH).", show_default="smart", metavar="[smart|off]"),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error (FHIR_LOG_LEVEL).", show_default="info")
    ] = None,
    sample_data: Annotated[
        bool, typer.Option("--sample-data", help="If the store is empty, load 20 synthetic patients first.")
    ] = False,
) -> None:
    """Serve the FHIR API until stopped (Ctrl+C or SIGTERM; requests under way are finished)."""
    options = {"host": host, "port": port, "workers": workers, "data_dir": data_dir, "auth": auth, "log_level": log_level}
    settings = load_settings(options)
    prepare(settings)
    listening = listen(settings.host, settings.port)
    options["port"] = listening.getsockname()[1]
    os.environ.update({variable(name): str(value) for name, value in options.items() if value is not None})
    settings = load_settings()
    _prepare_store(settings, sample_data)
    _run(settings, listening)


def application() -> "Application":
    """The ASGI application of one server process; its settings come from the environment that `serve` has set."""
    from fhir_server.app import create_app

    settings = load_settings()
    return create_app(settings)


def listen(host: str, port: int) -> socket.socket:
    """The listening socket that all server processes share; exits with one line where the address cannot be had."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError):
        fail(f"FHIR_HOST={host} is not an address of this machine")
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(2048)
    except OSError as error:
        listening.close()
        fail(
            f"cannot listen on {host}:{port}: {error.strerror}. Another program may use the port; choose one with --port or FHIR_PORT"
        )
    listening.set_inheritable(True)
    return listening


def _run(settings: Settings, listening: socket.socket) -> None:
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    from fhir_server.cli.tls import reload_at_hangup, tls_context
    from fhir_server.observability import configure_logging

    configure_logging(settings.log_level)
    try:
        tls = tls_context(settings) if settings.tls_cert else None
    except ValueError as problem:
        fail(str(problem))
    config = uvicorn.Config(
        "fhir_server.cli.serve:application",
        factory=True,
        workers=settings.workers,
        loop="uvloop",
        http="fhir_server.rest.protocol:HttpProtocol",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
        timeout_worker_healthcheck=60,
        ssl_context_factory=_tls if tls else None,
    )
    _welcome(settings)
    if settings.workers > 1:
        Multiprocess(config, sockets=[listening]).run()
        return
    if tls is not None:
        config.ssl_context_factory = lambda *_: tls
        reload_at_hangup(tls, settings)
    server = uvicorn.Server(config)
    # Once all requests are finished uvicorn raises the signal that stopped it again: an orderly stop ends with exit code 0.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server.run(sockets=[listening])
    if not server.started:
        raise SystemExit(1)


def _tls(*_: object) -> "SSLContext":
    """For each of several processes, which cannot be handed one. At SIGHUP they are replaced, and read the certificate again."""
    from fhir_server.cli.tls import tls_context

    return tls_context(load_settings())


def _welcome(settings: Settings) -> None:
    base = settings.base
    lines = [
        f"[bold]FHIR R4 server[/] at [bold]{escaped(base)}[/]  (data in {escaped(str(settings.data_dir))})",
        f"  try:   curl '{escaped(base)}/Patient?_count=2'",
        "  next:  README.md has a tour of five minutes. Stop with Ctrl+C.",
    ]
    if settings.auth == "smart":
        lines[1] += " -H 'Authorization: Bearer TOKEN'"
        where = (
            f" --data-dir {escaped(quote(str(settings.data_dir)))}" if settings.store == "sqlite" and not settings.store_url else ""
        )
        token = f"  TOKEN: fhir-server token --scope 'system/*.rs'{where} (docs/smart.md: users, apps and services)"
        lines.insert(2, "  TOKEN: of your authorization server" if settings.auth_issuer else token)
    if settings.auth == "off":
        lines.insert(1, f"  [yellow]sign-in is off: everybody who reaches {escaped(settings.host)} reads and writes everything[/]")
    lines += [f"  [yellow]{escaped(sentence)}[/]" for sentence in advice(settings)]
    err.print("\n".join(lines))


def _prepare_store(settings: Settings, sample_data: bool) -> None:
    """Open the store once before any server process does: what is wrong with it is said here, and upgrades happen here."""
    from fhir_server.cli.load import load_sample, store_position

    if not sample_data:
        store_position(settings)
    elif (totals := load_sample(settings, SAMPLE)) is not None:
        err.print(f"Loaded the sample data: {totals.resources:,} resources of 20 synthetic patients.")
