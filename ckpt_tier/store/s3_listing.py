"""The entries of a listing, taken out before botocore's general parser sees them: over 1,000 of them it takes several
times as long as everything else about a page, and makes fields that nobody here asks for.

An event handler of botocore's, as in its own handling of S3: https://docs.aws.amazon.com/boto3/latest/guide/events.html
"""

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from ckpt_tier.store.s3_session import parse_timestamp

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
_FIELDS = ("Key", "Size", "LastModified", "StorageClass")
_OK = 200


def attach(client: "S3Client") -> None:
    """Reads the client's listings this way from now on."""
    client.meta.events.register("before-parse.s3.ListObjectsV2", take_entries)


def take_entries(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    """Moves the entries from the body into botocore's answer. What is no listing is left as it is, for botocore to say
    what is wrong with it."""
    if response_dict["status_code"] != _OK:
        return
    try:
        root = ElementTree.fromstring(response_dict["body"])  # noqa: S314 (as botocore does with the same bytes)
        entries = root.findall(f"{_SPACE}Contents")
        contents = [_entry(element) for element in entries]
    except (ElementTree.ParseError, ValueError):
        return
    for element in entries:
        root.remove(element)
    response_dict["body"] = ElementTree.tostring(root)
    if contents:
        customized_response_dict["Contents"] = contents


def _entry(element: ElementTree.Element) -> dict[str, object]:
    """As botocore gives it, of the fields that a store needs. Raises ValueError when one is missing."""
    key, size, modified, kind = (element.findtext(_SPACE + name) for name in _FIELDS)
    if not key or size is None or modified is None:
        raise ValueError("an entry lacks what every entry has")
    entry = {"Key": key, "Size": int(size), "LastModified": parse_timestamp(modified)}
    return entry if kind is None else entry | {"StorageClass": kind}
