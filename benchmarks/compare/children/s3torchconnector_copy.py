"""s3torchconnector's checkpoint streams. Its own use is torch.save straight into a writer; here the same bytes are
copied through it from and to a file."""

import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.compare.children.job import Job, each, run


def prepare(job: Job) -> Callable[[], object]:
    from s3torchconnector import S3Checkpoint, S3ClientConfig

    config = S3ClientConfig(force_path_style=True, **job.settings.get("client", {}))
    streams = S3Checkpoint(region="us-east-1", endpoint=job.endpoint_url, s3client_config=config)
    block = job.settings.get("block", 2**20)

    def put(key: str, path: Path) -> None:
        with path.open("rb") as file, streams.writer(f"s3://{job.bucket}/{key}") as writer:
            shutil.copyfileobj(file, writer, block)

    def get(key: str, path: Path) -> None:
        with path.open("wb") as file:
            shutil.copyfileobj(streams.reader(f"s3://{job.bucket}/{key}"), file, block)

    return lambda: each(job, put if job.is_up else get)


if __name__ == "__main__":
    run(prepare)
