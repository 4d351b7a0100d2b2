"""What S3's answers mean: botocore's and urllib3's exceptions become this program's, with what to do about each.

Messages carry host names and S3's own words, never a credential and never a URL with a user name in it.
"""

import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ckpt_tier.errors import (
    AccessDeniedError,
    CkptTierError,
    ConfigError,
    IntegrityError,
    KeyExistsError,
    MissingKeyError,
    NoSpaceError,
    UnavailableError,
)


class UploadGoneError(UnavailableError):
    """The multipart upload is no longer there: finished, aborted or dropped by the store."""


class ChecksumRefusedError(IntegrityError):
    """The store has other bytes than the checksums sent along say."""


class ForbiddenError(AccessDeniedError):
    """The store knows these credentials, and what was asked is not allowed to them."""


class UnsupportedError(ConfigError):
    """The store does not know a header or operation that was asked of it."""


class Place(msgspec.Struct, frozen=True):
    """Where requests go, for messages. `endpoint` is a host, None for AWS itself."""

    bucket: str
    endpoint: str | None
    ca_bundle: str | None
    profile: str | None


ACTIONS = {
    "put_object": "s3:PutObject",
    "get_object": "s3:GetObject",
    "head_object": "s3:GetObject",
    "delete_object": "s3:DeleteObject",
    "list_objects_v2": "s3:ListBucket",
    "list_multipart_uploads": "s3:ListBucketMultipartUploads",
    "list_parts": "s3:ListMultipartUploadParts",
    "create_multipart_upload": "s3:PutObject",
    "upload_part": "s3:PutObject",
    "complete_multipart_upload": "s3:PutObject",
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "get_bucket_versioning": "s3:GetBucketVersioning",
    "get_bucket_lifecycle_configuration": "s3:GetLifecycleConfiguration",
    "get_object_lock_configuration": "s3:GetBucketObjectLockConfiguration",
}
"""The permission each request needs:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html"""

_MISSING = {"NoSuchKey", "404", "NotFound", "NoSuchVersion"}
_EXISTS = {"PreconditionFailed", "412", "ConditionalRequestConflict"}
_WRONG_BYTES = {
    "BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch",
    "InvalidPart", "InvalidPartOrder",
}  # fmt: skip
_NOT_KNOWN = {"NotImplemented", "XNotImplemented", "InvalidArgument", "InvalidRequest"}
_FULL = {"XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded"}
_BAD_KEYS = {
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "InvalidTokenId",
    "InvalidClientTokenId",
}  # fmt: skip
_FORBIDDEN = {"AccessDenied", "AllAccessDisabled", "403", "Forbidden"}
_WRONG_PLACE = {
    "PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException",
    "InvalidBucketName",
}  # fmt: skip
_CREDENTIALS_FIX = (
    "credentials come from the standard AWS chain: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, "
    "~/.aws, or the role of the machine"
)


def host_of(endpoint_url: str | None) -> str | None:
    """Host and port of an endpoint, without user name and password."""
    return urlsplit(endpoint_url).netloc.rpartition("@")[2] if endpoint_url else None


def translated(error: Exception, operation: str, key: str, place: Place) -> CkptTierError:
    """This program's error for one that botocore or urllib3 raised in `operation` (a method name of the client)."""
    from botocore.exceptions import ClientError

    ours = next((cause for cause in _causes(error) if isinstance(cause, CkptTierError)), None)
    if ours is not None:  # raised by the body of a request, and wrapped on its way out
        return ours
    where = f"s3://{place.bucket}/{key}" if key else f"s3://{place.bucket}"
    if isinstance(error, ClientError):
        return _refusal(error.response, operation, where, place)
    return _failure(error, where, place)


def expired_credentials(place: Place) -> AccessDeniedError:
    """For credentials that say themselves that their time is over, and can't be had anew."""
    return AccessDeniedError(
        f"the credentials for s3://{place.bucket} have expired",
        "their source gave no newer ones",
        "log in again, or export fresh AWS_* variables",
    )


def _refusal(response: Any, operation: str, where: str, place: Place) -> CkptTierError:
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    message = str(response.get("Error", {}).get("Message", ""))
    why = f"{message} ({code})" if message else f"the store answered {code or status}"
    if code == "NoSuchBucket":
        at = f" --endpoint-url http(s)://{place.endpoint}" if place.endpoint else ""
        return ConfigError(f"there is no bucket {place.bucket!r}", why, f"create it: aws s3 mb s3://{place.bucket}{at}")
    if code == "NoSuchUpload":
        return UploadGoneError(f"the unfinished upload of {where} is gone", why, "run the command again")
    if code in _MISSING or (status == 404 and not code):
        return MissingKeyError(f"there is no object {where}", why)
    if code in _EXISTS:
        return KeyExistsError(f"{where} is already there", why)
    if code in _WRONG_BYTES:
        return ChecksumRefusedError(f"the store refused the bytes of {where}", why)
    if code in _FULL or status == 507:
        return NoSpaceError(f"the store has no room for {where}", why, "make room in the cold tier")
    if code == "InvalidRange" or status == 416:
        return IntegrityError(f"{where} is shorter than it should be", why)
    if code in _WRONG_PLACE:
        return ConfigError(
            f"{where} can't be reached this way", why, "check the bucket's name, `region` and `endpoint_url` in [cold]"
        )
    if code in _BAD_KEYS:
        return AccessDeniedError(f"the store does not accept these credentials for {where}", why, _CREDENTIALS_FIX)
    if code == "RequestTimeTooSkewed":
        return AccessDeniedError(f"the store refused a request for {where}", why, "set this machine's clock")
    if status in (401, 403):
        kind = ForbiddenError if code in _FORBIDDEN else AccessDeniedError
        return kind(*_denied(operation, where, why))
    if code.startswith("KMS."):
        return ConfigError(f"{where} can't be encrypted", why, "check `sse` and `sse_kms_key_id` in [cold]")
    if code in _NOT_KNOWN or status in (405, 501):
        return UnsupportedError(f"the store can't do what {where} needs", why, "check `sse` in [cold] and the store")
    return UnavailableError(f"the store failed on {where}", why, "it is tried again")


def _denied(operation: str, where: str, why: str) -> tuple[str, str, str]:
    action = ACTIONS.get(operation, operation)
    fix = f"allow {action} on it for these credentials"
    if operation == "head_object":
        fix += "; without s3:ListBucket on the bucket a missing key is answered by 403, too"
    if operation in ("put_object", "create_multipart_upload", "upload_part"):
        fix += ", and kms:GenerateDataKey and kms:Decrypt where the bucket is encrypted with a KMS key"
    return f"{action} on {where} was refused", why, fix


def _failure(error: Exception, where: str, place: Place) -> CkptTierError:
    from botocore import exceptions as boto

    host = place.endpoint or "AWS"
    if isinstance(error, boto.ProfileNotFound):
        return ConfigError(f"there is no AWS profile {place.profile!r}", fix="check `profile` in [cold]")
    if isinstance(
        error,
        boto.NoCredentialsError
        | boto.PartialCredentialsError
        | boto.CredentialRetrievalError
        | boto.TokenRetrievalError
        | boto.SSOError
        | boto.MetadataRetrievalError,
    ):
        return AccessDeniedError(f"no credentials for s3://{place.bucket}", _CREDENTIALS_FIX, "provide one of them")
    if _is_certificate_trouble(error):
        bundle = f"`ca_bundle` is {place.ca_bundle}" if place.ca_bundle else "no `ca_bundle` is set"
        return ConfigError(
            f"the certificate of {host} is not trusted",
            f"{_reason(error)}; {bundle}",
            "set `ca_bundle` in [cold] to a PEM file with the certificate authority that signed it",
        )
    if any("WRONG_VERSION_NUMBER" in str(cause) for cause in _causes(error)):
        return ConfigError(f"{host} does not speak TLS", fix="write http:// instead of https:// in `endpoint_url`")
    # botocore follows redirects without counting them, and its HTTP client may wrap what that ends in.
    if any(isinstance(cause, RecursionError) for cause in _causes(error)):
        return ConfigError(
            f"the store redirects requests for {where} in a circle",
            fix="check the bucket's name, `region` and `endpoint_url` in [cold]",
        )
    if isinstance(error, boto.FlexibleChecksumError):
        return IntegrityError(f"{where} arrived damaged", str(error))
    if isinstance(
        error, boto.ParamValidationError | boto.InvalidRegionError | boto.NoRegionError | boto.EndpointProviderError
    ) or type(error) in (ValueError, boto.ConfigParseError, boto.ConfigNotFound):
        return ConfigError(
            f"{where} can't be asked for", _flat(str(error)), "check `url`, `endpoint_url` and `region` in [cold]"
        )
    if isinstance(error, boto.EndpointConnectionError | boto.ConnectTimeoutError | boto.ProxyConnectionError):
        return UnavailableError(
            f"{host} can't be reached",
            _reason(error),
            "check `endpoint_url` in [cold] and the network; it is tried again",
        )
    return UnavailableError(f"the answer for {where} did not arrive", _reason(error), "it is tried again")


def _is_certificate_trouble(error: Exception) -> bool:
    return any(
        isinstance(cause, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(cause)
        for cause in _causes(error)
    )


def _reason(error: Exception) -> str:
    """The innermost cause's own words: the outer ones repeat the URL."""
    last = list(_causes(error))[-1]
    if isinstance(last, OSError) and last.strerror:
        return last.strerror
    text = _flat(str(last))
    return text if text and "://" not in text else type(last).__name__


def _flat(text: str) -> str:
    return " ".join(text.split())


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what botocore and urllib3 wrapped in it, outermost first.

    Not what merely was being handled meanwhile (`__context__`): that belongs to another request.
    """
    seen: set[int] = set()
    current: object = error
    while isinstance(current, BaseException) and id(current) not in seen:
        seen.add(id(current))
        yield current
        wrapped = getattr(current, "kwargs", {})
        current = (
            (wrapped.get("error") if isinstance(wrapped, dict) else None)
            or getattr(current, "reason", None)
            or current.__cause__
        )
