"""`restore`, of several series of which one does not come back."""

import pytest

from tests.cli.ground import Ground
from tests.cli.test_documents_fit_their_schemas import fits


@pytest.fixture
def hurt(ground: Ground) -> Ground:
    """Three series of one checkpoint; in the cold tier that of series 1 is damaged."""
    for series in "012":
        ground.save(5000, series)
    ground.run("sync")
    [_, path, _] = ground.objects(5000)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return ground


def test_what_came_back_is_said_and_then_what_did_not(hurt: Ground) -> None:
    result = hurt.run("restore", "--latest", "--to", "elsewhere", code=5)
    hurt.matches_golden("restore-one-of-three-failed.txt", f"{result.out}\n{result.err}")
    assert sorted(path.parent.name for path in (hurt.root / "elsewhere").glob("*/*")) == ["model_gpu0", "model_gpu2"]


def test_the_document_names_both(hurt: Ground) -> None:
    result = hurt.run("restore", "--step", "5000", "--to", "elsewhere", "--json", code=5)
    assert fits(result.document, "restore")
    assert [each["series"] for each in result.document["restored"]] == ["0", "2"]
    assert [each["series"] for each in result.document["failed"]] == ["1"]
    assert result.error["exit_code"] == 5


def test_one_series_alone_says_what_is_wrong_and_nothing_else(hurt: Ground) -> None:
    result = hurt.run("restore", "--step", "5000", "--series", "1", "--to", "elsewhere", code=5)
    assert result.out == ""
    assert "did not come back" not in result.err
    assert "is damaged" in result.err
