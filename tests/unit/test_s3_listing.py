from typing import Any

import pytest

from ckpt_tier.store.s3_listing import take_entries

ENTRY = (
    "<Contents><Key>{key}</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified><ETag>x</ETag>"
    "<Size>{size}</Size></Contents>"
)


def page(*entries: str, more: str = "") -> bytes:
    space = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
    return f"<ListBucketResult {space}><Name>b</Name>{''.join(entries)}{more}</ListBucketResult>".encode()


def botocores_answer(body: bytes, *, ours: bool) -> dict[str, Any]:
    """What botocore makes of a page, with or without our handler before it."""
    from botocore.session import Session

    client = Session().create_client("s3", region_name="eu-central-1")
    operation = client.meta.service_model.operation_model("ListObjectsV2")
    response = {"status_code": 200, "body": body, "headers": {}}
    customized: dict[str, Any] = {}
    if ours:
        take_entries(response_dict=response, customized_response_dict=customized)
    from botocore.parsers import ResponseParserFactory

    parser = ResponseParserFactory().create_parser("rest-xml")
    parsed: dict[str, Any] = parser.parse(response, operation.output_shape)
    return parsed | customized


def test_a_page_is_what_botocore_makes_of_it_but_for_the_fields_nobody_asks_for() -> None:
    body = page(
        ENTRY.format(key="a%20b/&amp;/%E2%82%AC", size=0),
        ENTRY.format(key="b", size=2**42).replace("<ETag>", "<StorageClass>GLACIER</StorageClass><ETag>"),
        more="<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
        "<CommonPrefixes><Prefix>x/</Prefix></CommonPrefixes><EncodingType>url</EncodingType>",
    )

    ours, theirs = botocores_answer(body, ours=True), botocores_answer(body, ours=False)

    fields = ("Key", "Size", "LastModified", "StorageClass")
    expected = [{name: entry[name] for name in fields if name in entry} for entry in theirs.pop("Contents")]
    assert ours.pop("Contents") == expected
    assert ours == theirs


def test_a_page_without_entries_stays_without() -> None:
    assert "Contents" not in botocores_answer(page(more="<IsTruncated>false</IsTruncated>"), ours=True)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>log in here</html"),
        (200, page(ENTRY.format(key="a", size="many"))),
        (200, page(ENTRY.format(key="a", size=1).replace("2026-01-02T03:04:05.678Z", "yesterday"))),
        (200, page("<Contents><Key>a</Key></Contents>")),
        (403, page(ENTRY.format(key="a", size=1))),
    ],
    ids=["no XML", "size no number", "time no time", "fields missing", "an error"],
)
def test_what_is_no_listing_is_left_for_botocore_to_judge(status: int, body: bytes) -> None:
    response: dict[str, Any] = {"status_code": status, "body": body, "headers": {}}
    customized: dict[str, Any] = {}

    take_entries(response_dict=response, customized_response_dict=customized)

    assert response["body"] == body
    assert customized == {}
