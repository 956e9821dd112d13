"""What a bucket of S3 storage has beside a folder: links, TLS, names of hosts."""

import asyncio
import dataclasses
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from files.storage import bucket_place
from services.running import own_server

from fhir_server.files.bucket import Bucket
from fhir_server.files.contract import Files, FilesUnavailable
from fhir_server.files.folder import Folder

TYPE = "application/fhir+ndjson"


async def put(place: Files, name: str, data: bytes) -> None:
    """Write a file."""
    async with place.writing(name, TYPE) as writer:
        await writer.write(data)


def test_a_link() -> None:
    """Whoever has a link reads the one file that it is for, with its Content-Type, also a part of it, and changes nothing."""
    place = Bucket(bucket_place(links=""))

    async def run() -> str:
        await put(place, "a/file", b'{"resourceType":"Patient"}\n')
        await put(place, "a/other", b"other")
        url = await place.link("a/file", 60)
        assert url is not None
        return url

    url = asyncio.run(run())
    answer = httpx.get(url)
    assert (answer.status_code, answer.content) == (200, b'{"resourceType":"Patient"}\n')
    assert answer.headers["content-type"] == TYPE
    assert httpx.get(url, headers={"Range": "bytes=0-3"}).content == b'{"re'
    assert httpx.get(url.replace("a/file", "a/other")).status_code == 403
    assert httpx.get(url.partition("?")[0]).status_code == 403
    assert httpx.put(url, content=b"x").status_code == 403
    assert httpx.delete(url).status_code == 403


def test_a_link_ends() -> None:
    """After its seconds a link is good for nothing."""
    place = Bucket(bucket_place(links=""))

    async def run() -> str:
        await put(place, "a/file", b"x")
        return str(await place.link("a/file", 1))

    url = asyncio.run(run())
    end = time.monotonic() + 60
    while (status := httpx.get(url).status_code) == 200 and time.monotonic() < end:
        time.sleep(0.2)
    assert status == 403


@pytest.mark.parametrize(
    ("path_style", "links", "address"),
    [
        (True, "https://data.example.org", "https://data.example.org/files/PREFIX/a/file"),
        (False, "https://data.example.org", "https://files.data.example.org/PREFIX/a/file"),
        (False, "https://data.example.org:8443", "https://files.data.example.org:8443/PREFIX/a/file"),
    ],
)
def test_links_name_the_address_that_clients_reach(path_style: bool, links: str, address: str) -> None:
    """A link leads to the address for clients, which need not be the server's own."""
    place = bucket_place(links=links, path_style=path_style)
    url = asyncio.run(Bucket(place).link("a/file", 60))
    assert url is not None
    assert url.partition("?")[0] == address.replace("PREFIX", place.prefix)


def test_no_links(tmp_path: Path) -> None:
    """A folder gives out no links, and a bucket none where they are off."""
    for place in (Folder(tmp_path), Bucket(bucket_place())):
        assert asyncio.run(place.link("a/file", 60)) is None


async def used(place: Files) -> None:
    """Use it in all ways."""
    await place.check()
    await put(place, "a/file", b"x" * 9_000_000)
    assert await place.names("a") == [("a/file", 9_000_000)]
    assert len(b"".join([piece async for piece in place.reading("a/file")])) == 9_000_000
    assert await place.tidy(0) == 0
    assert await place.delete("a") == 1


def certified(folder: Path) -> str:
    """An authority's certificate; `cert.pem` and `key.pem` in the folder are those of localhost, vouched for by it."""
    now = datetime.now(UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("An authority", "localhost")]
    made = []
    for number, (name, key) in enumerate(zip(names, keys, strict=True)):
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(names[0]).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
        builder = builder.not_valid_after(now + timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=number == 0, path_length=None), critical=True)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        made.append(builder.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    (folder / "cert.pem").write_bytes(made[1])
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(keys[1].private_bytes(*form))
    return made[0].decode()


def test_tls(tmp_path: Path) -> None:
    """Storage with a certificate of an authority of one's own is used with FHIR_FILES_CA_FILE, and not without."""
    authority = certified(tmp_path)
    with own_server("versitygw", tmp_path, VERSITYGW_OPTIONS=f"--cert {tmp_path}/cert.pem --key {tmp_path}/key.pem") as server:
        known = bucket_place(f"https://localhost:{urlsplit(server.url).port}", certificates=authority, plain_http=False)
        asyncio.run(used(Bucket(known)))
        unknown = Bucket(dataclasses.replace(known, certificates=""))
        for use in (unknown.check, lambda: unknown.tidy(0)):
            with pytest.raises(FilesUnavailable, match="certificate is not trusted"):
                asyncio.run(use())  # type: ignore[arg-type]


def test_the_bucket_in_the_name_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without path style all goes to BUCKET.HOST (reached here by having the server as a proxy: the name leads nowhere)."""
    with own_server("versitygw", tmp_path, VERSITYGW_OPTIONS="--virtual-domain storage.test") as server:
        for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setitem(os.environ, "http_proxy", server.url)
        asyncio.run(used(Bucket(bucket_place("http://storage.test", path_style=False))))
