import pytest

from ckpt_tier.core.metrics import Best, check_metric
from ckpt_tier.errors import UsageError


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("loss", Best("loss", "min")),
        ("loss, min", Best("loss", "min")),
        ("accuracy,max", Best("accuracy", "max")),
        ("val/f1@0,5 , max", Best("val/f1@0,5", "max")),
    ],
)
def test_a_metric_is_written_with_or_without_its_way(text: str, meaning: Best) -> None:
    assert Best.parse(text) == meaning
    assert Best.parse(str(meaning)) == meaning


@pytest.mark.parametrize("text", ["", ",max", "loss,", "loss,lowest", "lo\nss, min"])
def test_what_names_no_metric_or_no_way_says_how_to_write_it(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Best.parse(text)
    assert '"accuracy, max"' in caught.value.fix


def test_of_equals_neither_is_better() -> None:
    assert not Best("loss").is_better(1.0, 1.0)
    assert Best("loss").is_better(0.9, 1.0)
    assert Best("loss", "max").is_better(1.1, 1.0)


@pytest.mark.parametrize("name", ["", " ", "a\tb", "a\x1b[31m", "x" * 51, "é" * 26])
def test_a_name_that_can_not_stand_in_a_files_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_metric(name)
