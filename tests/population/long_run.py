"""Generated searches over a whole population, each compared with what the oracle says of all its documents.

    python tests/population/long_run.py --population A.bundles.ndjson.gz A.appointments.ndjson.gz --queries 2000
    python tests/population/long_run.py --population … --queries 1000 --engine elastic --seed 7

Without `--population` the sample data is taken. `--store` names where documents are kept (as FHIR_STORE_URL; with Elasticsearch only), else
a file in `--data`, which is kept for the next run if it is named. Prints each disagreement with the smallest search that shows it, and
ends with exit code 1 if there was one. A search is repeated by its seed and number alone: `--seed 7 --skip 311 --queries 1`.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from indexing.feed_harness import sweep  # noqa: E402  (the path is set one line above)
from population.asking import Asking  # noqa: E402
from population.comparing import Refused, judged  # noqa: E402
from population.loading import load, oracle_of  # noqa: E402
from services.running import begin_run, end_run, service  # noqa: E402

from fhir_server.app import open_context  # noqa: E402
from fhir_server.config import Settings  # noqa: E402
from fhir_server.context import Context  # noqa: E402
from fhir_server.moving import move  # noqa: E402

SAMPLE = ROOT / "sample_data"
TRIES = 20


async def ready(ctx: Context, types: Sequence[str]) -> None:
    """Return once the index has all documents; each type's index may have to be made first."""
    for _ in range(TRIES):
        if await ctx.index.caught_up(types):
            return
    sys.exit(f"the index did not catch up in {TRIES} times {ctx.settings.search_wait:.0f} s")


async def run(settings: Settings, chosen: argparse.Namespace) -> int:
    """Ask all searches; returns on how many engine and oracle disagreed."""
    async with open_context(settings) as ctx:
        began = time.monotonic()
        oracle = await oracle_of(ctx)
        asking = Asking(oracle, ctx.parameters, chosen.seed)
        print(
            f"{len(oracle.named)} documents known to the oracle, {time.monotonic() - began:.0f} s; seed {chosen.seed}", flush=True
        )
        await ready(ctx, oracle.types)
        refused: Counter[str] = Counter()
        wrong, matching, began = 0, 0, time.monotonic()
        for _ in range(chosen.skip):
            asking.draw()
        for number in range(chosen.skip, chosen.skip + chosen.queries):
            search = asking.draw()
            if number % 100 == 99:
                print(f"search {number}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            try:
                verdict = await judged(ctx, oracle, search)
            except Refused as refusal:
                refused[str(refusal)] += 1
                continue
            matching += verdict.matches > 0
            if verdict.wrong is not None:
                wrong += 1
                print(f"{number}: {verdict.search}\n    {verdict.wrong}", flush=True)
        seconds = time.monotonic() - began
        asked = chosen.queries - refused.total()
        told = f"{asked} searches compared in {seconds:.0f} s, {matching} of them with matches: {wrong} disagreements"
        print(f"{told}; {refused.total()} could not be asked")
        if chosen.refused:
            print("\n".join(f"{count:5} {text[:200]}" for text, count in refused.most_common()))
        return wrong


async def moved(source: Settings, target: Settings) -> None:
    """Have in the target's store what the source's has."""
    from fhir_server.app import make_store, make_target

    one, other = make_store(source), make_target(target)
    for store in (one, other):
        await store.open()
    try:
        await move(one, other, lambda *_: None)
    finally:
        for store in (one, other):
            await store.close()


def settings_of(chosen: argparse.Namespace, folder: Path) -> Settings:
    """The engines chosen, with the population in the store."""
    embedded = Settings(data_dir=folder, auth="off", synchronous="NORMAL", search_timeout=10)
    loaded = load(embedded, chosen.population)
    print(f"{loaded} resources loaded into {folder}", flush=True)
    if chosen.engine == "sqlite":
        return embedded
    engines = {"search_url": service("elasticsearch"), "search_prefix": f"population{secrets.token_hex(4)}", "search_wait": 60}
    if not chosen.store:
        return Settings(**{**embedded.model_dump(), **engines})
    settings = Settings(**{**embedded.model_dump(), **engines, "store_url": chosen.store})
    asyncio.run(moved(embedded, settings))
    return settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--population", type=Path, nargs="+", default=[SAMPLE], metavar="FILE")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--engine", choices=["sqlite", "elastic"], default="sqlite")
    parser.add_argument("--store", help="where documents are kept, as FHIR_STORE_URL (with --engine elastic)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--skip", type=int, default=0, help="draw so many searches first, without asking them")
    parser.add_argument("--data", type=Path, help="folder for the data; kept, and used again by the next run")
    parser.add_argument("--refused", action="store_true", help="say why searches could not be asked")
    chosen = parser.parse_args()
    begin_run()
    try:
        with tempfile.TemporaryDirectory() as folder:
            settings = settings_of(chosen, chosen.data or Path(folder))
            try:
                wrong = asyncio.run(run(settings, chosen))
            finally:
                if settings.elastic:
                    asyncio.run(sweep(settings.search_url, settings.search_prefix))
    finally:
        end_run()
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
