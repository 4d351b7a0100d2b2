"""s3fs's `put` and `get`."""

from collections.abc import Callable

from benchmarks.compare.children.job import Job, run


def prepare(job: Job) -> Callable[[], object]:
    import s3fs

    system = s3fs.S3FileSystem(endpoint_url=job.endpoint_url, **job.settings.get("system", {}))
    remote = [f"{job.bucket}/{key}" for key, _ in job.files]
    local = [str(path) for _, path in job.files]
    options = job.settings.get("call", {})
    if job.is_up:
        return lambda: system.put(local, remote, **options)
    return lambda: system.get(remote, local, **options)


if __name__ == "__main__":
    run(prepare)
