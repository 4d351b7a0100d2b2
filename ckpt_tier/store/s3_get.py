"""GetObject over plain HTTP in a quarter of the processor time: for commands that ask for hundreds of small ranges.

botocore finds the endpoint, the region and the credentials, and signs; what it does around that, anew for each request
(rules for endpoints, checks of parameters, a parser of answers made for all services), is left out. Refusals are read
by its parser; where the bucket turns out to be in another region, the same is asked by botocore, which looks for it,
and from then on everything is.
"""

import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ckpt_tier.store.s3_wire import Wire
from ckpt_tier.system.digests import crc64nvme, to_base64

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SUCCESS = (200, 206)
_NOT_HERE = (301, 302, 307, 308, 400)
"""What botocore may ask again, in another region."""
_CHECKSUM = "x-amz-checksum-"
_CRC = f"{_CHECKSUM}crc64nvme"
_SAFE = "/~"
"""What botocore leaves as it is in keys."""
_NO_REGION = {None: "us-east-1", "aws-global": "us-east-1"}
_SOME_KEY = "key"


class Gets:
    """Asks for objects of one bucket. Safe to use from several threads."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._lock = threading.Lock()
        self._base: str | None = None
        self._credentials: Any = None
        self._region = ""
        self._agent = ""

    def attach(self, client: "S3Client", bucket: str, credentials: Any) -> None:
        """Asks as `client` would, from now on, if that goes by our own connections. `credentials`: botocore's."""
        if not self._wire.carries or credentials is None:
            return
        url = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": _SOME_KEY})
        place = url.partition("?")[0]
        if place.startswith("http://") and place.endswith(f"/{_SOME_KEY}"):
            region = client.meta.region_name
            self._region = _NO_REGION.get(region, region)
            self._agent = str(client.meta.config.user_agent)  # type: ignore[attr-defined]
            self._credentials = credentials
            self._base = place.removesuffix(_SOME_KEY)

    def get(self, key: str, span: str = "") -> Any:
        """What botocore would answer, in so far as it is of use here: all of the object, or only the bytes of `span`, a
        Range header. None if botocore has to be asked. Raises what botocore raises.

        Of all of an object the body checks the CRC-64/NVME, if that is what the store has noted.
        """
        base = self._base
        if base is None:
            return None
        from botocore.awsrequest import AWSPreparedRequest

        url = base + quote(key, safe=_SAFE)
        signed = self._signed(url, {"Range": span} if span else {f"{_CHECKSUM}mode": "ENABLED"})
        answer: Any = self._wire.carry(AWSPreparedRequest("GET", url, signed, None, stream_output=True))
        if answer.status_code not in _SUCCESS:
            if answer.status_code not in _NOT_HERE:
                raise _refusal(answer)
            self._base = None
        headers = {name.lower(): value for name, value in answer.headers.items()}
        sums = {name for name in headers if name.startswith(_CHECKSUM)} - {f"{_CHECKSUM}type"}
        if answer.status_code not in _SUCCESS or (not span and sums - {_CRC}):
            answer.raw.close()
            return None
        made = {"Body": answer.raw if span or not sums else _Checked(answer.raw, headers[_CRC])}
        named = {"ContentLength": "content-length", "ContentRange": "content-range", "ETag": "etag"}
        made |= {ours: headers[theirs] for ours, theirs in named.items() if theirs in headers}
        return made

    def _signed(self, url: str, headers: dict[str, str]) -> Any:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest

        request = AWSRequest("GET", url, headers=headers | {"User-Agent": self._agent})
        with self._lock:  # which may be due to be renewed
            frozen = self._credentials.get_frozen_credentials()
        S3SigV4Auth(frozen, "s3", self._region).add_auth(request)
        return request.headers


class _Checked:
    """A body that is read all at once."""

    def __init__(self, body: Any, crc: str) -> None:
        self._body = body
        self._crc = crc

    def read(self) -> bytes:
        from botocore.exceptions import FlexibleChecksumError

        data = bytes(self._body.read())
        if (found := to_base64(crc64nvme(data))) != self._crc:
            raise FlexibleChecksumError(error_msg=f"Expected checksum {self._crc} did not match {found}")
        return data

    def close(self) -> None:
        self._body.close()


def _refusal(answer: Any) -> Exception:
    """What botocore would raise; reads the body."""
    from botocore.exceptions import ClientError
    from botocore.parsers import create_parser

    said = {"headers": answer.headers, "status_code": answer.status_code, "body": answer.content}
    return ClientError(create_parser("rest-xml").parse(said, None), "GetObject")  # type: ignore[arg-type]
