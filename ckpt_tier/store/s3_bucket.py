"""Looking at a bucket, not at what is in it: who we are to it, what we may do, and what it does to objects by itself.

Nothing here changes anything. Permissions are tried by requests that can't succeed even where they are allowed: the
store looks at who asks before it looks at what is asked, so the error tells. Two exceptions: a store that takes wrong
checksums stores the nine bytes of `_put`, and they are removed again; a bucket with versions notes that something
that was never there was deleted.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import msgspec

from ckpt_tier.errors import AccessDeniedError, CkptTierError, IntegrityError, MissingKeyError, UnavailableError
from ckpt_tier.store.s3_errors import ForbiddenError, UnsupportedError, UploadGoneError
from ckpt_tier.store.s3_proof import PROBE_FOLDER
from ckpt_tier.store.s3_requests import Requests, credentials
from ckpt_tier.system.clock import random_id
from ckpt_tier.system.digests import crc64nvme, to_base64

ARCHIVES = ("GLACIER", "DEEP_ARCHIVE")
"""Storage classes whose objects must be asked back, which takes hours, before they can be read:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/restoring-objects.html"""

_NO_SUCH_UPLOAD = "ckpt-tier-permission-trial"
_SIZES_OF_AT_MOST = 100


class Credentials(msgspec.Struct, frozen=True):
    """Where the AWS chain found credentials ("env", "shared-credentials-file", "iam-role"), and until when they hold
    (seconds since the epoch) where that is known. Never the credentials themselves."""

    provider: str
    expires_at: float | None


class Reached(msgspec.Struct, frozen=True):
    """The answer to the first request.

    Attributes:
        server_time: seconds since the epoch, in whole seconds, by the server's Date; None if it sent none.
        problem: why the bucket can't be used at all; None if it can, or only listing it is refused.
        about: what the problem is about.
        region: where the bucket is, if the answer says that it was asked for elsewhere.
    """

    server_time: float | None = None
    problem: CkptTierError | None = None
    about: Literal["place", "credentials", "clock"] = "place"
    region: str | None = None


class Permission(msgspec.Struct, frozen=True):
    """`allowed` is None where it can't be told. `resource` is the ARN that a policy has to name."""

    action: str
    allowed: bool | None
    resource: str


class Rule(msgspec.Struct, frozen=True):
    """A lifecycle rule that is in force for objects as ours are: they have no tags.

    Attributes:
        name: the rule's own id.
        prefix: of whole keys of the bucket.
        expires: what it deletes current objects after ("30 days", "2027-01-01"); None if it deletes none.
        archives: (storage class, after what) for each archive that it moves objects to.
        frees_versions: whether it deletes versions that are no longer current.
        ends_uploads: whether it aborts unfinished uploads.
    """

    name: str
    prefix: str
    expires: str | None = None
    archives: tuple[tuple[str, str], ...] = ()
    frees_versions: bool = False
    ends_uploads: bool = False


class Unfinished(msgspec.Struct, frozen=True):
    """Unfinished multipart uploads. `size` is None where their parts could not be listed, or not all of them."""

    count: int
    size: int | None


class Inspection:
    """Questions about one bucket. `root` is the prefix of the store's keys, with its slash. To be used by one thread.

    All of them raise what a store raises (ForbiddenError where the question itself is not allowed).
    """

    def __init__(self, requests: Requests, root: str) -> None:
        self._requests = requests
        self.root = root

    @property
    def bucket(self) -> str:
        return self._requests.bucket

    @property
    def is_aws(self) -> bool:
        """Whether requests go to AWS itself, as far as the configuration says."""
        return self._requests.options.endpoint_url is None

    def credentials(self) -> Credentials:
        """Where they come from. Raises AccessDeniedError if there are none."""
        with self._requests.errors("credentials", ""):
            found = credentials(self._requests.options)
        expires = getattr(found, "_expiry_time", None)
        return Credentials(str(found.method), expires.timestamp() if isinstance(expires, datetime) else None)

    def reach(self) -> Reached:
        """Asks for one key, and looks at how the answer comes. Raises nothing of what a store may raise."""
        try:
            answer = self._requests.send("list_objects_v2", Prefix=self.root, MaxKeys=1)
        except CkptTierError as error:
            response = _response(error)
            time, code = _server_time(response), _code(response)
            if isinstance(error, ForbiddenError):
                return Reached(time)
            about: Literal["place", "credentials", "clock"] = "place"
            if code == "RequestTimeTooSkewed":
                about = "clock"
            elif isinstance(error, AccessDeniedError):
                about = "credentials"
            return Reached(time, error, about, _region(response))
        return Reached(_server_time(answer))

    def permissions(self, known_key: str) -> Iterator[Permission]:
        """Tries each action once. `known_key`, relative to the root, may or may not be there."""
        bucket = f"arn:aws:s3:::{self.bucket}"
        objects = f"{bucket}/{self.root}*"
        key = f"{self.root}{PROBE_FOLDER}/{random_id()}"
        send = self._requests.send
        lists = self._is_allowed(lambda: send("list_objects_v2", Prefix=self.root, MaxKeys=1))
        yield Permission("s3:ListBucket", lists, bucket)
        reads: bool | None = self._is_allowed(lambda: self._read_a_byte(self.root + known_key))
        # Where listing is refused, so is every question for what is not there.
        yield Permission("s3:GetObject", reads or (False if lists else None), objects)
        trials: tuple[tuple[str, Callable[[], object], str], ...] = (
            ("s3:PutObject", lambda: self._put(key), objects),
            ("s3:DeleteObject", lambda: send("delete_object", key), objects),
            ("s3:AbortMultipartUpload", lambda: self._about_no_upload("abort_multipart_upload", key), objects),
            ("s3:ListMultipartUploadParts", lambda: self._about_no_upload("list_parts", key), objects),
            ("s3:ListBucketMultipartUploads", lambda: send("list_multipart_uploads", Prefix=key), bucket),
        )
        for action, trial, resource in trials:
            yield Permission(action, self._is_allowed(trial), resource)

    def versioning(self) -> bool:
        """Whether deleted objects stay as old versions."""
        return bool(self._requests.send("get_bucket_versioning").get("Status") == "Enabled")

    def lock_days(self) -> int | None:
        """For how many days a new object can't be deleted, by the bucket's default; None if it can."""
        answer = self._configured("get_object_lock_configuration", "ObjectLockConfigurationNotFoundError")
        default = answer.get("ObjectLockConfiguration", {}).get("Rule", {}).get("DefaultRetention", {})
        days = default.get("Days") or 365 * default.get("Years", 0)
        return int(days) or None

    def rules(self) -> list[Rule]:
        """The lifecycle rules that are in force for objects without tags, anywhere in the bucket."""
        answer = self._configured("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration")
        return [rule for rule in map(_rule, answer.get("Rules", [])) if rule is not None]

    def storage_classes(self, prefix: str) -> Counter[str]:
        """How many of the first 1,000 objects below `prefix` are in which storage class."""
        answer = self._requests.send("list_objects_v2", Prefix=self.root + prefix)
        return Counter(entry.get("StorageClass", "STANDARD") for entry in answer.get("Contents", []))

    def unfinished(self, before: float) -> Unfinished:
        """The unfinished uploads below the root that were begun before a time (seconds since the epoch), of the
        first 1,000. MinIO lists none: it finds only those of one exact key."""
        answer = self._requests.send("list_multipart_uploads", Prefix=self.root)
        old = [one for one in answer.get("Uploads", []) if one["Initiated"].timestamp() < before]
        sizes = self._sizes(old) if len(old) <= _SIZES_OF_AT_MOST else None
        return Unfinished(len(old), sizes)

    def _sizes(self, uploads: Sequence[Mapping[str, Any]]) -> int | None:
        total = 0
        try:
            for upload in uploads:
                with contextlib.suppress(UploadGoneError):
                    page = self._requests.send("list_parts", upload["Key"], UploadId=upload["UploadId"])
                    if page["IsTruncated"]:
                        return None
                    total += sum(part["Size"] for part in page.get("Parts", []))
        except (ForbiddenError, UnsupportedError):
            return None
        return total

    def _is_allowed(self, trial: Callable[[], object]) -> bool:
        try:
            trial()
        except ForbiddenError:
            return False
        except UnsupportedError:
            return True  # it looked at the request: who asks was no hindrance
        return True

    def _read_a_byte(self, key: str) -> None:
        with contextlib.suppress(MissingKeyError, IntegrityError):  # not there, or empty
            self._requests.send("get_object", key, Range="bytes=0-0")["Body"].close()

    def _put(self, key: str) -> None:
        body = b"ckpt-tier"
        wrong = to_base64(crc64nvme(body) ^ 1)
        try:
            self._requests.send("put_object", key, Body=body, ChecksumCRC64NVME=wrong, **self._requests.encryption())
        except IntegrityError:
            return
        self._requests.send("delete_object", key)

    def _about_no_upload(self, operation: str, key: str) -> None:
        with contextlib.suppress(UploadGoneError):
            self._requests.send(operation, key, UploadId=_NO_SUCH_UPLOAD)

    def _configured(self, operation: str, absent: str) -> Any:
        """What the bucket is set to; empty where the answer's code is `absent`, or the store knows no such thing."""
        try:
            return self._requests.send(operation)
        except UnsupportedError:
            return {}
        except UnavailableError as error:
            if _code(_response(error)) == absent:
                return {}
            raise


def _rule(told: Mapping[str, Any]) -> Rule | None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_LifecycleRule.html"""
    chosen = told.get("Filter", {})
    both = chosen.get("And", {})
    if told.get("Status") != "Enabled" or "Tag" in chosen or both.get("Tags"):
        return None
    expiration = told.get("Expiration", {})
    return Rule(
        name=str(told.get("ID", "without a name")),
        prefix=str(both.get("Prefix") or chosen.get("Prefix") or told.get("Prefix") or ""),
        expires=_after(expiration),
        archives=tuple(
            (each["StorageClass"], _after(each) or "at once")
            for each in told.get("Transitions", [])
            if each.get("StorageClass") in ARCHIVES
        ),
        frees_versions="NoncurrentVersionExpiration" in told,
        ends_uploads="AbortIncompleteMultipartUpload" in told,
    )


def _after(action: Mapping[str, Any]) -> str | None:
    if isinstance(date := action.get("Date"), datetime):
        return f"on {date:%Y-%m-%d}"
    days = action.get("Days")
    return None if days is None else "after 1 day" if days == 1 else f"after {days} days"


def _response(error: BaseException) -> Mapping[str, Any]:
    """S3's answer behind an error of ours; empty if there was none."""
    response = getattr(error.__cause__, "response", None)
    return response if isinstance(response, Mapping) else {}


def _code(response: Mapping[str, Any]) -> str:
    return str(response.get("Error", {}).get("Code", ""))


def _headers(response: Mapping[str, Any]) -> Mapping[str, str]:
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers if isinstance(headers, Mapping) else {}


def _server_time(response: Mapping[str, Any]) -> float | None:
    try:
        return parsedate_to_datetime(_headers(response).get("date", "")).timestamp()
    except ValueError:
        return None


def _region(response: Mapping[str, Any]) -> str | None:
    told = response.get("Error", {}).get("Region") or _headers(response).get("x-amz-bucket-region")
    return str(told) if told and str(told).isprintable() else None
