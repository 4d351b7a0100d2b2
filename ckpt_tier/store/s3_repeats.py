"""Requests like one that botocore has sent before: the same but for the key, the range, the checksum and the body.

botocore makes each request from its model of S3 anew, by rules for endpoints, checks of parameters and some twenty
hooks: two milliseconds of processor time, ten times what it costs to sign and send a small object. So it makes the
first request of a kind, and those after it are made from that one. Credentials and the reading of answers stay
botocore's, and the signature is what it would be; and after any answer that is no success the next request of its kind
goes all the way again, so that what botocore knows to do then (another region, other credentials) is done.

Only for requests that go over connections of ours: see `s3_wire`.
"""

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from ckpt_tier.store.s3_session import parse_timestamp
from ckpt_tier.store.s3_signing import Scope, Signer
from ckpt_tier.store.s3_wire import SENT_AT_ONCE
from ckpt_tier.store.source_body import PieceBody

if TYPE_CHECKING:
    from botocore.session import Session
    from mypy_boto3_s3 import S3Client

    from ckpt_tier.store.s3_answers import Answer
    from ckpt_tier.store.s3_wire import Wire

_OPERATIONS = ("put_object", "upload_part", "get_object", "head_object")
_IN_HEADERS = {"Range": "range", "ChecksumCRC64NVME": "x-amz-checksum-crc64nvme"}
_IN_QUERY = {"PartNumber": "partNumber", "UploadId": "uploadId"}
_VARYING = frozenset(("Key", "Body", *_IN_HEADERS, *_IN_QUERY))
"""Parameters that differ from one request of a kind to the next."""
_MADE_ANEW = frozenset(
    (
        *_IN_HEADERS.values(),
        "content-length",
        "expect",
        "authorization",
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-security-token",
        "amz-sdk-invocation-id",  # of one request, and that it is its first attempt: for a log of the server's
        "amz-sdk-request",
    )
)
_OK = range(200, 300)
_CHECKSUMS = ("crc64nvme", "crc32c", "crc32", "sha256", "sha1")
_READ_AS: dict[str, Callable[[str], object]] = {
    "string": str,
    "integer": int,
    "long": int,
    "boolean": "true".__eq__,
    "timestamp": parse_timestamp,
}
"""By the names of botocore's model: https://smithy.io/2.0/spec/http-bindings.html#httpheader-trait"""

_Kind = tuple[str, frozenset[tuple[str, object]]]


class _Pattern(msgspec.Struct, frozen=True):
    """What requests of one kind have in common, and their answers. `place`: their URL up to the key, and `path` its
    path; `fields`: for each field of an answer the header, the field's name, and how it is read."""

    method: str
    place: str
    path: str
    headers: dict[str, str]
    scope: Scope
    stream_output: bool
    fields: list[tuple[str, str, Callable[[str], object]]]


class _Request(msgspec.Struct):
    """What the wire needs to know of a request."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: PieceBody | None
    stream_output: bool


class Repeats:
    """Sends requests to one bucket. Safe to use from several threads."""

    def __init__(self, client: "S3Client", session: "Session", wire: "Wire", heard: "Callable[[Answer], None]") -> None:
        """`heard` is told each answer."""
        self._signer = Signer(session.get_credentials())
        self._wire = wire
        self._heard = heard
        service = client.meta.service_model
        self._models = {name: service.operation_model(client.meta.method_to_api_mapping[name]) for name in _OPERATIONS}
        factory = session.get_component("response_parser_factory")
        self._parser = factory.create_parser(service.resolved_protocol)
        self._patterns: dict[_Kind, _Pattern] = {}
        self._seen = threading.local()
        for model in self._models.values():
            client.meta.events.register_first(f"before-send.s3.{model.name}", self._see)

    def _see(self, request: Any, **_: object) -> None:
        self._seen.request = request

    def learn(self, operation: str, parameters: Mapping[str, Any]) -> None:
        """To be called in the thread in which botocore has just sent a request that has succeeded."""
        request = self._seen.__dict__.pop("request", None)
        kind = _kind(operation, parameters)
        if request is None or kind is None or not self._wire.carries(request):
            return
        pattern = _pattern(request, parameters, self._models[operation])
        if pattern is not None:
            self._patterns[kind] = pattern

    def send(self, operation: str, parameters: Mapping[str, Any]) -> Any:
        """The answer as botocore gives it, as far as it is in the headers, and the body; None if no request of its kind
        is known, and nothing was sent. Raises what botocore raises."""
        kind = _kind(operation, parameters)
        pattern = self._patterns.get(kind) if kind else None
        if kind is None or pattern is None:
            return None
        request = self._request(pattern, parameters)
        answer = self._wire.exchange(request)
        self._heard(answer)
        if answer.status not in _OK:
            self._patterns.pop(kind, None)
            raise self._error(operation, request, answer)
        found = {
            name: convert(answer.headers[header])
            for header, name, convert in pattern.fields
            if header in answer.headers
        }
        if not pattern.stream_output:
            answer.body.close()
        elif parameters.get("ChecksumMode") == "ENABLED":
            found["Body"] = self._checked(operation, request, answer)
        else:
            found["Body"] = answer.body
        return found

    def _checked(self, operation: str, request: _Request, answer: "Answer") -> Any:
        """The body, which raises FlexibleChecksumError at its end unless it has the checksum that came with it."""
        from botocore.endpoint import convert_to_response_dict
        from botocore.httpchecksum import handle_checksum_body

        model, answered = self._models[operation], answer.for_botocore(request.url)
        response: dict[str, Any] = convert_to_response_dict(answered, model)
        handle_checksum_body(answered, response, {"checksum": {"response_algorithms": _CHECKSUMS}}, model)
        return response["body"]

    def _error(self, operation: str, request: _Request, answer: "Answer") -> Exception:
        from botocore.endpoint import convert_to_response_dict
        from botocore.exceptions import ClientError

        model = self._models[operation]
        response = convert_to_response_dict(answer.for_botocore(request.url), model)
        return ClientError(self._parser.parse(response, model.output_shape), model.name)

    def _request(self, pattern: _Pattern, parameters: Mapping[str, Any]) -> _Request:
        headers = dict(pattern.headers)
        for name in parameters.keys() & _IN_HEADERS.keys():
            headers[_IN_HEADERS[name]] = parameters[name]
        body = parameters.get("Body")
        if body is not None:
            headers["content-length"] = str(body.length)
            if body.length > SENT_AT_ONCE:
                headers["expect"] = "100-continue"
        target = _target(parameters)
        signed = self._signer.signed(pattern.method, pattern.path + target, headers, pattern.scope)
        return _Request(pattern.method, pattern.place + target, signed, body, pattern.stream_output)


def _fields(shape: Any) -> list[tuple[str, str, Callable[[str], object]]]:
    """Those fields of an answer that a header says."""
    fields = [(member.serialization, name, member.type_name) for name, member in shape.members.items()]
    return [
        (said.get("name", name).lower(), name, _READ_AS[kind])
        for said, name, kind in fields
        if said.get("location") == "header" and kind in _READ_AS
    ]


def _kind(operation: str, parameters: Mapping[str, Any]) -> _Kind | None:
    """What requests must agree in to be made from one another; None for what is always left to botocore."""
    body = parameters.get("Body")
    if operation not in _OPERATIONS or not (body is None or (isinstance(body, PieceBody) and body.checked_by_store)):
        return None
    return operation, frozenset((name, None if name in _VARYING else value) for name, value in parameters.items())


def _pattern(request: Any, parameters: Mapping[str, Any], model: Any) -> _Pattern | None:
    """What to make the next request from; None where this one is of a sort that is not known here."""
    headers = {name.lower(): _text(value) for name, value in request.headers.items()}
    algorithm, _, scope = headers.get("authorization", "").partition(" Credential=")
    words = scope.partition(",")[0].split("/")
    target = _target(parameters)
    if (
        algorithm != "AWS4-HMAC-SHA256"
        or words[-1] != "aws4_request"
        or headers.get("x-amz-content-sha256") != "UNSIGNED-PAYLOAD"
        or not request.url.endswith(f"/{target}")
        or any(headers.get(_IN_HEADERS[name]) != parameters[name] for name in parameters.keys() & _IN_HEADERS.keys())
    ):
        return None
    place = request.url.removesuffix(target)
    url = urlsplit(place)
    return _Pattern(
        method=request.method,
        place=place,
        path=url.path,
        headers={"host": url.netloc} | {name: value for name, value in headers.items() if name not in _MADE_ANEW},
        scope=Scope(region=words[-3], service=words[-2]),
        stream_output=request.stream_output,
        fields=_fields(model.output_shape),
    )


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _target(parameters: Mapping[str, Any]) -> str:
    """The key, and what the query says, as botocore writes them."""
    from botocore.utils import percent_encode, percent_encode_sequence

    key = str(percent_encode(parameters["Key"], safe="/~"))
    said = {_IN_QUERY[name]: str(value) for name, value in parameters.items() if name in _IN_QUERY}
    return f"{key}?{percent_encode_sequence(said)}" if said else key
