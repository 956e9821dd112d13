"""Two worlds asked the same: what differs between their answers is what leaked."""

import json
from collections.abc import Iterable, Iterator
from difflib import unified_diff

from access.population import BASE, OTHER, secret
from access.worlds import Ask, Told, World

MOST_PAGES = 30


def leaks(asks: Iterable[Ask], caller: str, whole: World, without: World, *, word: str = secret(OTHER)) -> list[str]:
    """One sentence for every request that is answered otherwise in the world `whole` than in the one without what the caller may not see,
    or whose answer has the `word` in it ("": none is looked for). Page links are followed, each world's own."""
    return [problem for ask in asks for problem in _leak(ask, caller, whole, without, word)]


def _leak(ask: Ask, caller: str, whole: World, without: World, word: str) -> Iterator[str]:
    pages = zip(answers(ask, caller, whole), answers(ask, caller, without), strict=False)
    for page, (there, here) in enumerate(pages):
        what = f"{ask.road}: {ask.method} {ask.path[:300]} {dict(ask.headers) or ''} page {page}"
        if word and word in (text := f"{there.body.decode()} {sorted(there.headers.items())}"):
            yield f"{what} shows the other's: {there.status} {_around(text, word)}"
            return
        if there.normal() != here.normal():
            yield f"{what} tells of the other: {difference(there, here)}"
            return


def answers(ask: Ask, caller: str, world: World) -> Iterator[Told]:
    """The answer and its following pages."""
    for _ in range(MOST_PAGES):
        told = world.ask(caller, ask)
        yield told
        following = next_link(told)
        if following is None:
            return
        ask = Ask(ask.road, "GET", following)


def next_link(told: Told) -> str | None:
    """The path of the page that follows, if there is one."""
    if b'"next"' not in told.body:
        return None
    links = told.json().get("link", ())
    return next((link["url"].removeprefix(f"{BASE}/") for link in links if link["relation"] == "next"), None)


def _around(text: str, word: str) -> str:
    place = text.index(word)
    return text[max(place - 120, 0) : place + 60]


def difference(there: Told, here: Told) -> str:
    if there.status != here.status:
        return f"{there.status} against {here.status}: {there.body[:250]!r} against {here.body[:250]!r}"
    if there.normal()[1] != here.normal()[1]:
        return f"{there.normal()[1]} against {here.normal()[1]}"
    return "\n".join(list(unified_diff(_lines(here), _lines(there), "without", "with", n=1, lineterm=""))[:20])


def _lines(told: Told) -> list[str]:
    text = told.normal()[2]
    try:
        return json.dumps(json.loads(text), indent=1).splitlines()
    except ValueError:
        return [text]
