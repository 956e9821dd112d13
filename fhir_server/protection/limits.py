"""How much one caller may ask for: requests in a time, and at once. More is answered with 429 and Retry-After (RFC 6585, 4)."""

from functools import lru_cache
from hashlib import blake2b

from fhir_server.messages import Identity
from fhir_server.protection.addresses import one_caller
from fhir_server.protection.rates import Counter, InMemory, InRedis, Rate
from fhir_server.protection.settings import ProtectionSettings
from resources.outcomes import FhirError, error


class Limits:
    """The limits of one server process."""

    def __init__(self, settings: ProtectionSettings) -> None:
        rates = settings.rates
        self._known, self._anonymous = rates.get("rate_limit"), rates.get("rate_limit_anonymous")
        self._oauth, self._sign_in = rates.get("rate_limit_oauth"), rates.get("rate_limit_sign_in")
        self._authorize, self._poll = rates.get("rate_limit_authorize"), rates.get("rate_limit_polls")
        self._counter: Counter = InRedis(settings.redis_url) if settings.redis_url and rates else InMemory()
        self._at_once = settings.max_concurrent_per_client
        self._running: dict[str, int] = {}

    async def aclose(self) -> None:
        """Let go of connections."""
        await self._counter.aclose()

    async def request(self, who: Identity, cost: int = 1) -> None:
        """A request to the FHIR interface, or `cost` more of them in one Bundle; if it has more than is allowed at all, it takes all.

        Raises FhirError 429.
        """
        if who.access is None and not who.address:
            return  # a command of the server's own
        limit, name = (self._anonymous, "FHIR_RATE_LIMIT_ANONYMOUS") if who.anonymous else (self._known, "FHIR_RATE_LIMIT")
        if limit is not None and cost > 0:
            await self._count(_caller(who), limit, name, cost)

    async def stranger(self, address: str) -> None:
        """A request to the authorization server by nobody known, which is about to be recorded. Raises FhirError 429."""
        if self._anonymous is not None:
            await self._count(f"stranger {one_caller(address)}", self._anonymous, "FHIR_RATE_LIMIT_ANONYMOUS", 1)

    async def oauth(self, address: str, *, form: bool, authorize: bool = False) -> None:
        """A request to the authorization server; `form`: what a person sends from one of its pages; `authorize`: an app asks for a user's
        consent, which is kept until somebody answers. Raises FhirError 429."""
        caller = one_caller(address)
        if self._oauth is not None:
            await self._count(f"oauth {caller}", self._oauth, "FHIR_RATE_LIMIT_OAUTH", 1)
        if authorize and self._authorize is not None:
            await self._count(f"authorize {caller}", self._authorize, "FHIR_RATE_LIMIT_AUTHORIZE", 1)
        if form and self._sign_in is not None:
            await self._count(f"form {caller}", self._sign_in, "FHIR_RATE_LIMIT_SIGN_IN", 1)

    async def poll(self, job: str) -> None:
        """A question what has become of a job (an id). Raises FhirError 429."""
        if self._poll is not None:
            await self._count(f"job {job}", self._poll, "FHIR_RATE_LIMIT_POLLS", 1)

    def enter(self, who: Identity) -> str:
        """Before a request is carried out; what it returns is for `leave`. Raises FhirError 429 where the client has too many under way."""
        if not self._at_once:
            return ""
        caller = _caller(who)
        under_way = self._running.get(caller, 0)
        if under_way >= self._at_once:
            text = f"There are {under_way} requests of this client under way, the most at once (FHIR_MAX_CONCURRENT_PER_CLIENT)"
            raise error(429, "throttled", text, **{"Retry-After": "1"})
        self._running[caller] = under_way + 1
        return caller

    def begin(self, who: Identity, what: str, most: int) -> str:
        """Before something that takes long; what it returns is for `leave`. Raises FhirError 429 where the client has `most` of it under
        way."""
        caller = f"{what} {_caller(who)}"
        under_way = self._running.get(caller, 0)
        if under_way >= most:
            text = f"There are {under_way} {what} of this client under way, the most at once"
            raise error(429, "throttled", text, **{"Retry-After": "2"})
        self._running[caller] = under_way + 1
        return caller

    def leave(self, caller: str) -> None:
        """After the request, whatever came of it."""
        if caller:
            left = self._running[caller] - 1
            if left:
                self._running[caller] = left
            else:
                del self._running[caller]

    async def _count(self, caller: str, limit: Rate, name: str, cost: int) -> None:
        seconds = await self._counter.hit(caller, limit, min(cost, max(1, limit.most - 1)))  # one of them was counted when it came
        if seconds:
            raise _too_many(limit, name, seconds)


def _too_many(limit: Rate, name: str, seconds: int) -> FhirError:
    text = f"Too many requests: at most {limit.most} in {limit.seconds} s ({name}). Try again in {seconds} s"
    return error(429, "throttled", text, **{"Retry-After": str(seconds)})


@lru_cache(maxsize=4096)
def _of_client(client: str, subject: str) -> str:
    return "client " + blake2b(f"{client}\x00{subject}".encode(), digest_size=16).hexdigest()


def _caller(who: Identity) -> str:
    """Client and user by a hash, so that no name leaves this process; the address of who has no token."""
    if who.access is None:
        return f"address {one_caller(who.address)}"
    return _of_client(who.client, who.subject)
