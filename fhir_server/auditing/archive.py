"""Archives of the audit: AuditEvents in files, each with a signed manifest (docs/adr/0018, docs/audit.md).

A file is NDJSON, packed with zstd: the events' exact bytes, one a line, in order of position; it ends where a checkpoint ends. It is
written under another name first, synced, read back and compared; only then it gets its name, which has its hash in it. Its manifest, a JWS
as checkpoints are, is a Record of the store, and repeated beside the file. Events are removed from the store only when all that is there,
and the file is what was signed. Whatever is killed in between is done again; of two processes that archive at once one is taken.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path

import msgspec
import zstandard
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from fhir_server.auditing.keys import key_id
from fhir_server.auditing.reading import readable
from fhir_server.auditing.statements import (
    ALGORITHM,
    BadSignature,
    Interval,
    Span,
    Statement,
    checkpoints,
    extend,
    hash_of,
    hash_token,
    link_of,
    opened,
)
from resources.store import ABSENT, Conflict, RecordChange, ResourceStore, Version
from resources.stores.chain import Link, read_link
from resources.stores.events import is_own

KIND = "audit-archive"
MOST = 200_000
"""AuditEvents in one file, about: it ends with the checkpoint that reaches so many."""

_LEVEL = 3
Progress = Callable[[int, int], None]


class ArchiveProblem(Exception):
    """An archive that cannot be made or believed; the text says why."""


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a file holds: `count` events from the first to the last position; the SHA-256 of the file; `heads` as a checkpoint has them,
    of every writer in it; `checkpoint` is the number of the last one that covers it, up to position `until`, made at `signed`. `previous`:
    SHA-256 of the manifest before ("": it is the first). Instants in microseconds since the epoch. `late`: events in it over which their
    checkpoint has passed, because they were spoilt then."""

    number: int
    file: str
    previous: str
    first: int
    last: int
    count: int
    sha256: str
    heads: dict[str, tuple[int, str]]
    checkpoint: int
    until: int
    signed: int
    made: int
    late: tuple[Span, ...] = ()


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Manifest).decode


def beside(file: str) -> str:
    """The name of the manifest that stands beside a file."""
    return file.removesuffix(".ndjson.zst") + ".manifest.jws"


def opened_manifest(token: str, keys: Mapping[str, OKPKey]) -> Manifest:
    """What a manifest says. Raises BadSignature where none of the keys signed it."""
    try:
        found = jws.extract_compact(token.encode())
        key = keys.get(str(found.headers().get("kid")))
        if key is None or not jws.validate_compact(found, key, algorithms=[ALGORITHM]):
            raise BadSignature("no key that is believed signed it")
        return _decode(found.payload)
    except (JoseError, ValueError, msgspec.MsgspecError):
        raise BadSignature("it is no manifest") from None


async def archived(store: ResourceStore, keys: Mapping[str, OKPKey]) -> AsyncIterator[tuple[str, Manifest]]:
    """The manifests that the store knows, in order. Raises BadSignature."""
    after = ""
    while part := await store.records(KIND, after=after):
        for record in part:
            token = record.value.decode("ascii", "replace")
            yield token, opened_manifest(token, keys)
        after = part[-1].key


class Archiver:
    """Archives what is older than an instant. `key` signs; `keys` are those that checkpoints are verified with."""

    def __init__(
        self, store: ResourceStore, folder: Path, key: OKPKey, keys: Mapping[str, OKPKey], clock: Callable[[], int]
    ) -> None:
        self._store, self._folder, self._key, self._keys, self._clock = store, folder, key, keys, clock

    async def run(self, before: int, progress: Progress) -> list[Manifest]:
        """Archive everything that was signed before `before` (microseconds since the epoch) and is in no archive yet.

        Raises ArchiveProblem where events are not as they were signed, or the folder cannot be written; StoreUnavailable.
        """
        made: list[Manifest] = []
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            token, last = await self._last()
            while covered := await self._covered(last.checkpoint if last is not None else 0, before):
                progress(covered[0].after, covered[-1].until)
                last = await self._archive(covered, token, last)
                token = self._signed(last)
                await self._store.commit((), records=[RecordChange(KIND, f"{last.number:06d}", token.encode(), expect=ABSENT)])
                _put(self._folder / beside(last.file), token.encode())
                made.append(last)
        except OSError as problem:
            raise ArchiveProblem(f"{self._folder} cannot be written: {problem.strerror}") from None
        except Conflict:  # another process archives; what it has done need not be done
            return made
        return made

    async def remove(self, before: int, progress: Progress) -> int:
        """Remove from the store what is in archives and was signed before `before`; returns how many events. The files are looked at first.

        Raises ArchiveProblem for a file that is not in the folder, or not what was signed; StoreUnavailable.
        """
        removed = 0
        try:
            async for _, manifest in archived(self._store, self._keys):
                if manifest.signed >= before:
                    break
                if not await self._left(manifest):
                    continue
                if await asyncio.to_thread(hash_of_file, self._folder / manifest.file) != manifest.sha256:
                    raise ArchiveProblem(f"{manifest.file} is not the file that was signed; nothing was removed from there on")
                while count := await self._store.forget_events(manifest.until):
                    removed += count
                    progress(removed, removed)
        except BadSignature as problem:
            raise ArchiveProblem(f"a manifest in the store does not hold: {problem}; run fhir-server audit verify") from None
        return removed

    async def _left(self, manifest: Manifest) -> bool:
        """Whether some of its events are still in the store."""
        spoilt = list[Span]()
        async for part in readable(self._store, manifest.first - 1, manifest.until, lambda at, problem: extend(spoilt, at)):
            if any(is_own(version) for version in part):
                return True
        return bool(spoilt)

    async def _last(self) -> tuple[str, Manifest | None]:
        token, last = "", None
        try:
            async for token, last in archived(self._store, self._keys):
                copy = self._folder / beside(last.file)
                if not copy.exists():  # killed before it was written
                    _put(copy, token.encode())
        except BadSignature as problem:
            raise ArchiveProblem(f"a manifest in the store does not hold: {problem}; run fhir-server audit verify") from None
        return token, last

    async def _covered(self, after: int, before: int) -> list[Statement]:
        """The next checkpoints that make one file."""
        found: list[Statement] = []
        count = 0
        async for number, token in checkpoints(self._store, after):
            try:
                statement = opened(token, self._keys)
            except BadSignature as problem:
                raise ArchiveProblem(f"checkpoint {number} does not hold: {problem}; run fhir-server audit verify") from None
            if statement.made >= before or count >= MOST:
                break
            found.append(statement)
            count += statement.count
        return found

    async def _archive(self, covered: list[Statement], token: str, last: Manifest | None) -> Manifest:
        """Write the file of these checkpoints, durable and read back, and say what is in it."""
        number = (last.number if last is not None else 0) + 1
        draft = self._folder / f".audit-{number:06d}.{os.getpid()}"
        try:
            content = await self._write(draft, covered)
            digest = await asyncio.to_thread(hash_of_file, draft)
            if await asyncio.to_thread(_content_hash, draft) != content.digest:
                raise ArchiveProblem(f"{draft.name} does not read back as it was written: is the disk well?")
            file = f"audit-{number:06d}-{digest[:12]}.ndjson.zst"
            draft.replace(self._folder / file)
            _sync(self._folder)
        finally:
            draft.unlink(missing_ok=True)
        newest = covered[-1]
        return Manifest(
            number, file, hash_token(token) if token else "", content.first, content.last, content.count, digest, content.heads,
            newest.number, newest.until, newest.made, self._clock(), tuple(content.late),
        )  # fmt: skip

    async def _write(self, path: Path, covered: list[Statement]) -> "_Content":
        content = _Content()
        with path.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            with zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).stream_writer(file, closefd=False) as packed:
                for statement in covered:
                    interval = Interval()
                    async for part in readable(self._store, statement.after, statement.until, _spoilt):
                        for version in part:
                            hashed, link, late = hash_of(version), link_of(version), statement.passes(version.position)
                            if not late:
                                interval.add(version, hashed, link)
                            if is_own(version):
                                packed.write(content.add(version, hashed, link, late))
                    if (interval.count, interval.digest) != (statement.count, statement.digest):
                        text = f"AuditEvents are not as checkpoint {statement.number} has signed them; run fhir-server audit verify"
                        raise ArchiveProblem(text)
            file.flush()
            os.fsync(file.fileno())
        return content

    def _signed(self, manifest: Manifest) -> str:
        return jws.serialize_compact(
            {"alg": ALGORITHM, "kid": key_id(self._key)}, _encode(manifest), self._key, algorithms=[ALGORITHM]
        )


class _Content:
    """What goes into one file."""

    def __init__(self) -> None:
        self.first = self.last = self.count = 0
        self.heads: dict[str, tuple[int, str]] = {}
        self.late: list[Span] = []
        self._digest = sha256()

    def add(self, version: Version, hashed: bytes, link: Link | None, late: bool) -> bytes:
        """The line of an event."""
        if late:
            extend(self.late, version.position)
        self.first, self.last = self.first or version.position, version.position
        self.count += 1
        if link is not None:
            self.heads[link.writer] = (link.number, hashed.hex())
        line = (version.body or b"") + b"\n"
        self._digest.update(line)
        return line

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()


def _spoilt(position: int, problem: str) -> None:
    text = (
        f"AuditEvent/event-{position} cannot be read ({problem}): put its row back from a backup; nothing is archived from there on"
    )
    raise ArchiveProblem(text)


def events_of(path: Path) -> Iterator[tuple[bytes, Link | None]]:
    """The events in an archive's file, with their links, in order. Raises ArchiveProblem for a file that cannot be read."""
    try:
        with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as unpacked:
            rest = b""
            while part := unpacked.read(1 << 20):
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    yield line, read_link(line)
            if rest:
                raise ArchiveProblem(f"{path.name} ends within an event")
    except OSError as problem:
        raise ArchiveProblem(f"{path.name} cannot be read: {problem.strerror}") from None
    except zstandard.ZstdError:
        raise ArchiveProblem(f"{path.name} is spoilt") from None


def hash_of_file(path: Path) -> str:
    """The SHA-256 of a file. Raises ArchiveProblem."""
    try:
        with path.open("rb") as file:
            digest = sha256()
            while part := file.read(1 << 20):
                digest.update(part)
            return digest.hexdigest()
    except OSError as problem:
        raise ArchiveProblem(f"{path.name} cannot be read: {problem.strerror}") from None


def _content_hash(path: Path) -> str:
    """The SHA-256 of what is packed in a file. Raises ArchiveProblem."""
    try:
        with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as unpacked:
            digest = sha256()
            while part := unpacked.read(1 << 20):
                digest.update(part)
            return digest.hexdigest()
    except zstandard.ZstdError:
        raise ArchiveProblem(f"{path.name} does not read back as it was written: is the disk well?") from None


def _sync(folder: Path) -> None:
    """Names of files are durable too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _put(path: Path, content: bytes) -> None:
    """A small file, whole and durable or not there."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    _sync(path.parent)
