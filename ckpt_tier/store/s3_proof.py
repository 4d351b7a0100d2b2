"""Whether the bytes under a key are the source's: by the store's own checksum where it can be believed, else by
reading them back."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from ckpt_tier.errors import CkptTierError, IntegrityError
from ckpt_tier.store.protocol import Blocks, Source
from ckpt_tier.store.s3_errors import ChecksumRefusedError, UnsupportedError
from ckpt_tier.store.s3_requests import Requests
from ckpt_tier.system.clock import random_id
from ckpt_tier.system.digests import crc64nvme, from_base64, to_base64, to_hex

PROBE_FOLDER = ".ckpt-tier-probe"
_KNOWN_TO_VERIFY = frozenset({"AmazonS3", "MinIO"})
"""Servers (by their Server header) that were seen to refuse wrong checksums. Others show it once per process."""

Read = Callable[[str, int, int], Blocks]


def whole_crc(answer: Mapping[str, Any]) -> str | None:
    """The CRC-64/NVME over a whole object in S3's answer, as 16 hex digits; None where there is none."""
    text = answer.get("ChecksumCRC64NVME")
    if not text or answer.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT":
        return None
    try:
        return to_hex(from_base64(text))
    except ValueError:
        return None


class Proof:
    """Judges what one store says about checksums. Safe to use from several threads.

    `root` is the prefix of all keys; `read` takes whole keys of the bucket.
    """

    def __init__(self, requests: Requests, root: str, read: Read) -> None:
        self._requests = requests
        self._root = root
        self._read = read
        self._lock = threading.Lock()
        self._verifies: bool | None = None

    def known_not_to_verify(self) -> bool:
        """Whether the store was seen to take wrong checksums: then what it says of them means nothing."""
        return self._verifies is False

    def known_to_verify(self) -> bool:
        """Whether the store refuses wrong checksums, as far as that is known without asking."""
        return self._verifies is True or (self._verifies is None and self._requests.server in _KNOWN_TO_VERIFY)

    def store_verifies(self) -> bool:
        """Whether the store refuses bytes that don't match their checksum. Tried once: a few small requests."""
        with self._lock:
            if self._verifies is None:
                self._verifies = self._refuses_wrong_checksums()
            return self._verifies

    def believes(self) -> bool:
        """Whether checksums in the store's answers can be believed, by who sends them, else by trying it."""
        return self.known_to_verify() or self.store_verifies()

    def answer_proves(self, answer: Mapping[str, Any], source: Source) -> bool:
        """Whether the answer to a write shows that the store verified exactly the source's checksum."""
        return whole_crc(answer) == source.crc64nvme and self.believes()

    def holds(self, key: str, source: Source) -> bool:
        """Whether the object under `key` (of the bucket) has the source's bytes; raises MissingKeyError."""
        answer = self._requests.send("head_object", key, ChecksumMode="ENABLED")
        if answer["ContentLength"] != source.size:
            return False
        crc = whole_crc(answer)
        if crc is not None and self.believes():
            return crc == source.crc64nvme
        return self._read_back(key, source.size) == source.crc64nvme

    def check_written(self, key: str, source: Source) -> None:
        """Proves an object that was just written; removes it and raises IntegrityError if it is not the source's."""
        if not self.holds(key, source):
            self._requests.send("delete_object", key)
            raise IntegrityError(
                f"s3://{self._requests.bucket}/{key} came back with other bytes than were sent",
                "the store keeps no checksums, so it was read back",
                "it was removed and is sent again",
            )

    def _read_back(self, key: str, size: int) -> str:
        crc = 0
        for block in self._read(key, 0, size):
            crc = crc64nvme(block, crc)
        return to_hex(crc)

    def _refuses_wrong_checksums(self) -> bool:
        """Sends a part of a multipart upload with a wrong checksum, and drops the upload."""
        key = f"{self._root}{PROBE_FOLDER}/{random_id()}"
        body = b"ckpt-tier"
        wrong = to_base64(crc64nvme(body) ^ 1)
        try:
            upload = self._requests.send(
                "create_multipart_upload", key, ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT"
            )
        except UnsupportedError:
            return False
        try:
            self._requests.send(
                "upload_part", key, UploadId=upload["UploadId"], PartNumber=1, Body=body, ChecksumCRC64NVME=wrong
            )
        except ChecksumRefusedError:
            return True
        except UnsupportedError:
            return False
        finally:
            abandon(self._requests, key, upload["UploadId"])
        return False


def abandon(requests: Requests, key: str, upload_id: str) -> None:
    """Drops a multipart upload and its parts; where that fails, the bucket's own rule for stale uploads does it."""
    try:
        requests.send("abort_multipart_upload", key, UploadId=upload_id)
    except CkptTierError:
        return
