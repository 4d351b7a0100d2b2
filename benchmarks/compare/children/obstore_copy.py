"""obstore's `put` and `get`; with `range_bytes` in the settings, `get_range` of several at once, written where they
belong."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.compare.children.job import Job, each, run

_CHUNK = 10 * 2**20
"""What `GetResult.stream` takes for `min_chunk_size` by itself."""


def prepare(job: Job) -> Callable[[], object]:
    import obstore
    from obstore.store import S3Store

    trusted = {"root_certificate": Path(job.certificate).read_text()} if job.certificate else {"allow_http": True}
    store = S3Store(
        job.bucket,
        endpoint=job.endpoint_url,
        virtual_hosted_style_request=False,
        client_options=trusted,
        **job.settings.get("store", {}),
    )
    options = job.settings.get("put", {})

    def put(key: str, path: Path) -> None:
        obstore.put(store, key, path, **options)

    def get(key: str, path: Path) -> None:
        with path.open("wb") as file:
            for chunk in obstore.get(store, key).stream(min_chunk_size=_CHUNK):
                file.write(chunk)

    def get_ranges(key: str, path: Path) -> None:
        step = job.settings["range_bytes"]
        size = obstore.head(store, key)["size"]
        if size <= step:
            get(key, path)
            return
        with path.open("wb") as file, ThreadPoolExecutor(job.settings["ranges_at_once"]) as pool:

            def fetch(start: int) -> None:
                end = min(start + step, size)
                os.pwrite(file.fileno(), obstore.get_range(store, key, start=start, end=end), start)

            list(pool.map(fetch, range(0, size, step)))

    move = put if job.is_up else get_ranges if "range_bytes" in job.settings else get
    return lambda: each(job, move)


if __name__ == "__main__":
    run(prepare)
