"""boto3's `upload_file` and `download_file`."""

from collections.abc import Callable
from typing import Any

from benchmarks.compare.children.job import Job, each, run


def prepare(job: Job) -> Callable[[], object]:
    import boto3
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config

    addressing: Any = {"addressing_style": "path", **job.settings.get("s3", {})}
    client: Any = boto3.client(
        "s3",
        endpoint_url=job.endpoint_url,
        config=Config(s3=addressing, **job.settings.get("client", {})),
    )
    transfer = TransferConfig(**job.settings["transfer"]) if "transfer" in job.settings else None
    if job.is_up:
        return lambda: each(job, lambda key, path: client.upload_file(str(path), job.bucket, key, Config=transfer))
    return lambda: each(job, lambda key, path: client.download_file(job.bucket, key, str(path), Config=transfer))


if __name__ == "__main__":
    run(prepare)
