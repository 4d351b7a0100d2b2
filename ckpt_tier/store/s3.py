"""Objects in an S3 bucket: AWS, MinIO and what speaks like them."""

import contextlib
import threading
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ckpt_tier.errors import (
    IntegrityError,
    KeyExistsError,
    MissingKeyError,
    UnavailableError,
)
from ckpt_tier.store.protocol import READ_BLOCK, Blocks, Capabilities, Leftovers, Source, Stat, Watch, check_key
from ckpt_tier.store.s3_errors import UnsupportedError
from ckpt_tier.store.s3_leftovers import drop_leftovers
from ckpt_tier.store.s3_proof import PROBE_FOLDER, Proof, whole_crc
from ckpt_tier.store.s3_requests import Requests, S3Options
from ckpt_tier.store.s3_upload import Uploader
from ckpt_tier.system.clock import random_id
from ckpt_tier.system.digests import crc64nvme, to_base64

if TYPE_CHECKING:
    from ckpt_tier.store.s3_bucket import Inspection


class S3Store:
    """A `Store` over one bucket and prefix. `ckpt_tier.store.protocol` is the contract.

    Nothing is imported from boto3, and no connection made, before the first request. Requires s3:GetObject,
    s3:PutObject, s3:DeleteObject and s3:ListBucket; with s3:ListBucketMultipartUploads and
    s3:ListMultipartUploadParts killed uploads go on where they stopped, and with s3:AbortMultipartUpload what nobody
    goes on with is cleaned up.
    """

    listing_page = 1000
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html"""

    def __init__(self, bucket: str, prefix: str = "", options: S3Options | None = None) -> None:
        self._requests = Requests(bucket, options or S3Options())
        self._root = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._proof = Proof(self._requests, self._root, self._read_range)
        self._uploader = Uploader(self._requests, self._proof)
        self._lock = threading.Lock()
        self._capabilities: Capabilities | None = None

    @property
    def url(self) -> str:
        return f"s3://{self._requests.bucket}/{self._root}".rstrip("/")

    def capabilities(self) -> Capabilities:
        with self._lock:
            if self._capabilities is None:
                self._capabilities = Capabilities(
                    conditional_put=self._refuses_second_put(), verifies_uploads=self._proof.store_verifies()
                )
            return self._capabilities

    def inspection(self) -> "Inspection":
        """What can be asked about the bucket itself."""
        from ckpt_tier.store.s3_bucket import Inspection

        return Inspection(self._requests, self._root)

    def refuses_wrong_checksums(self) -> bool:
        """Whether the store itself refuses a part that doesn't match its checksum; tried once."""
        return self._proof.store_verifies()

    def list(self, prefix: str, after: str = "") -> Iterator[Stat]:
        start = {"StartAfter": self._root + after} if after else {}
        for page in self._pages(Prefix=self._root + prefix, **start):
            for entry in page.get("Contents", []):
                key = entry["Key"].removeprefix(self._root)
                if not key.endswith("/"):  # made by consoles to show an empty folder
                    yield Stat(key, entry["Size"], None, entry["LastModified"].timestamp())

    def folders(self, prefix: str) -> Sequence[str]:
        base = self._root + prefix
        names = [
            entry["Prefix"].removeprefix(base).rstrip("/")
            for page in self._pages(Prefix=base, Delimiter="/")
            for entry in page.get("CommonPrefixes", [])
        ]
        return sorted((name for name in names if prefix or name != PROBE_FOLDER), key=str.encode)

    def _pages(self, **parameters: Any) -> Iterator[Any]:
        while True:
            page = self._requests.send("list_objects_v2", **parameters)
            yield page
            if not page.get("IsTruncated"):
                return
            parameters["ContinuationToken"] = page["NextContinuationToken"]

    def stat(self, key: str) -> Stat:
        answer = self._requests.send("head_object", self._full(key), ChecksumMode="ENABLED")
        crc = None if self._proof.known_not_to_verify() else whole_crc(answer)
        return Stat(key, answer["ContentLength"], crc, answer["LastModified"].timestamp())

    def get(self, key: str, limit: int) -> bytes:
        full = self._full(key)
        answer = self._requests.send("get_object", full, ChecksumMode="ENABLED")
        size = answer["ContentLength"]
        with contextlib.closing(answer["Body"]) as body:
            if size > limit:
                raise IntegrityError(f"{self.url}/{key} is too large", f"{size} bytes, at most {limit} are taken")
            with self._requests.errors("get_object", full):
                data = bytes(body.read())
        if len(data) != size:
            raise self._broken_off(full, len(data), size)
        return data

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        full = self._full(key)
        extra = self._requests.encryption()
        checksum = {"ChecksumCRC64NVME": to_base64(crc64nvme(data))}
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        try:
            self._requests.send("put_object", full, Body=data, **checksum, **condition, **extra)
        except UnsupportedError:
            if if_absent:
                self._refuse_if_there(key)
            self._requests.send("put_object", full, Body=data, **extra)

    def _refuse_if_there(self, key: str) -> None:
        with contextlib.suppress(MissingKeyError):
            self.stat(key)
            raise KeyExistsError(f"{self.url}/{key} is already there")

    def upload(self, key: str, source: Source, watch: Watch) -> None:
        self._uploader.upload(self._full(key), source, watch)

    def refresh(self, key: str, source: Source, watch: Watch) -> None:
        self._uploader.refresh(self._full(key), source, watch)

    def read(self, key: str, offset: int, length: int) -> Blocks:
        return self._read_range(self._full(key), offset, length)

    def _read_range(self, full: str, offset: int, length: int) -> Blocks:
        if length == 0:
            return
        last = offset + length - 1
        answer = self._requests.send("get_object", full, Range=f"bytes={offset}-{last}")
        buffer = memoryview(bytearray(min(READ_BLOCK, length)))
        with contextlib.closing(answer["Body"]) as body:
            self._check_range(full, answer, offset, last)
            left = length
            while left:
                with self._requests.errors("get_object", full):
                    count = body.readinto(buffer[:left])
                if count == 0:
                    raise self._broken_off(full, length - left, length)
                left -= count
                yield buffer[:count]

    def _check_range(self, full: str, answer: Any, offset: int, last: int) -> None:
        """The range that came must be the one asked for: less means that the object ends before."""
        got = str(answer.get("ContentRange", ""))
        if got.startswith(f"bytes {offset}-{last}/"):
            return
        where = f"s3://{self._requests.bucket}/{full}"
        if got.startswith(f"bytes {offset}-"):
            raise IntegrityError(f"{where} is shorter than it should be", f"asked for {offset}-{last}, got {got}")
        raise UnavailableError(
            f"the store did not answer a range of {where}", f"asked for {offset}-{last}, got {got!r}"
        )

    def _broken_off(self, full: str, count: int, size: int) -> UnavailableError:
        return UnavailableError(
            f"the answer for s3://{self._requests.bucket}/{full} broke off",
            f"{count} of {size} bytes came",
            "it is tried again",
        )

    def delete(self, key: str) -> None:
        with contextlib.suppress(MissingKeyError):
            self._requests.send("delete_object", self._full(key))

    def clean_up(self, prefixes: Sequence[str], older_than: float, keep: Collection[str]) -> Leftovers:
        return drop_leftovers(self._requests, self._root, prefixes, older_than, keep)

    def _full(self, key: str) -> str:
        return check_key(self._root + check_key(key))

    def _refuses_second_put(self) -> bool:
        key = f"{PROBE_FOLDER}/{random_id()}"
        full = self._full(key)
        try:
            self._requests.send("put_object", full, Body=b"first", IfNoneMatch="*")
            self._requests.send("put_object", full, Body=b"second", IfNoneMatch="*")
        except KeyExistsError:
            return True
        except UnsupportedError:
            return False
        finally:
            self.delete(key)
        return False
