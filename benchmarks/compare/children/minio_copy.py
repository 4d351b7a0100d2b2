"""minio-py's `fput_object` and `fget_object`."""

import os
from collections.abc import Callable
from urllib.parse import urlsplit

from benchmarks.compare.children.job import Job, each, run


def prepare(job: Job) -> Callable[[], object]:
    from minio import Minio

    address = urlsplit(job.endpoint_url)
    client = Minio(
        address.netloc,
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        secure=address.scheme == "https",
        region="us-east-1",
    )
    options = job.settings.get("put", {})
    if job.is_up:
        return lambda: each(job, lambda key, path: client.fput_object(job.bucket, key, str(path), **options))
    return lambda: each(job, lambda key, path: client.fget_object(job.bucket, key, str(path)))


if __name__ == "__main__":
    run(prepare)
