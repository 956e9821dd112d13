"""Canonical URLs as includes follow them (https://hl7.org/fhir/R4/references.html#canonical): to all documents whose `url` is the URL and,
where a version is given (`url|1.0`), whose `version` is that one."""

import re
from collections.abc import Iterable, Sequence

Name = tuple[str, str]
"""(URL, version); "" is any version."""

LONGEST = 199
"""Characters of a URL, and of a version, that are followed: no index need keep more of a text than this."""

_URL = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*:[^|]{{1,{LONGEST}}}")


def names(targets: Iterable[str]) -> dict[Name, None]:
    """What a document asks for by the values that it has of a parameter (`ReferenceValue.target`, see `search.types.reference`).

    Of a canonical with a version there is a value without it as well, which is left out: a document that names a URL both with and
    without a version asks for the versions only."""
    found = [(url, version) for url, _, version in (target.partition("|") for target in targets)]
    versioned = {url for url, version in found if version}
    return {(url, version): None for url, version in found if (version or url not in versioned) and _followed(url, version)}


def answers(urls: Iterable[str], versions: Sequence[str]) -> dict[Name, None]:
    """The names that lead to a document that has these values of `url` and `version`; none if it cannot be named."""
    pairs = ((url, version) for url in urls for each in versions or [""] for version in ("", each))
    return {name: None for name in pairs if _followed(*name)}


def _followed(url: str, version: str) -> bool:
    return len(url) <= LONGEST and len(version) <= LONGEST and _URL.fullmatch(url) is not None
