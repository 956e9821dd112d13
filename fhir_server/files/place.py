"""Where a bucket of S3-compatible storage is, and how it is spoken to."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from obstore.store import S3Store

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Credential

_TIMES: "Final[ClientConfig]" = {"connect_timeout": timedelta(seconds=5), "timeout": timedelta(seconds=60)}
_RETRY: "Final[RetryConfig]" = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=3), "base": 3},
}


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket and how it is spoken to. `endpoint`: its address, empty for Amazon's; without an access key obstore looks where AWS' own
    programs look (environment, web identity, role); `links`: the address in links, None where none are given out; `certificates`: PEM."""

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = "us-east-1"
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    path_style: bool = True
    plain_http: bool = False
    certificates: str = ""
    links: str | None = None

    def store(self, endpoint: str, *, prefix: str, path_style: bool) -> S3Store:
        """The bucket at this address."""
        config: S3Config = {"region": self.region, "virtual_hosted_style_request": not path_style}
        if endpoint:
            config["aws_endpoint_url_s3"] = endpoint  # it wins over all that the environment says
        client: ClientConfig = {**_TIMES, "allow_http": self.plain_http}
        if self.certificates:
            client["root_certificate"] = self.certificates
        return S3Store(
            self.bucket,
            prefix=prefix or None,
            config=config,
            client_options=client,
            retry_config=_RETRY,
            credential_provider=self._key if self.access_key else None,
        )

    def _key(self) -> "S3Credential":
        """The access key; in this way no session token of the environment gets mixed in."""
        return {"access_key_id": self.access_key, "secret_access_key": self.secret_key, "token": None, "expires_at": None}

    def at(self, endpoint: str) -> S3Store:
        """The bucket below the host of this address, as `path_style` says; with the prefix."""
        scheme, _, host = endpoint.partition("://")
        address = endpoint if self.path_style or not endpoint else f"{scheme}://{self.bucket}.{host}"
        return self.store(address, prefix=self.prefix, path_style=self.path_style)
