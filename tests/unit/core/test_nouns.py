import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_tier.core.nouns import MAX_STEP, check_name, check_step, generation_id, is_id, member_id
from ckpt_tier.errors import UsageError
from tests.builders import digest


@pytest.mark.parametrize("name", ["a", "0", "swelu", "a.b_c-d", "x" * 64])
def test_a_fit_name_is_taken(name: str) -> None:
    assert check_name("run", name) == name


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "-a", "A", "a/b", "a b", "ä", "x" * 65, "a\n", "a\0"])
def test_a_name_that_could_leave_its_place_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not a series name"):
        check_name("series", name)


def test_steps_run_from_zero_to_twelve_digits() -> None:
    assert check_step(0) == 0
    assert check_step(MAX_STEP) == 999_999_999_999
    for wrong in (-1, MAX_STEP + 1, True, 1.0, "5"):
        with pytest.raises(UsageError, match="is not a step"):
            check_step(wrong)  # type: ignore[arg-type]


def test_a_members_id_is_the_hash_that_the_format_fixes() -> None:
    text = f"{'ab' * 32} 3 a.pt\0".encode()
    assert member_id([digest("a.pt")]) == hashlib.sha256(text).hexdigest()[:16]
    assert generation_id(["b", "a"]) == hashlib.sha256(b"a\nb").hexdigest()[:16]


@given(st.permutations(["a", "b", "c", "d"]))
def test_the_order_of_files_and_members_does_not_matter(names: list[str]) -> None:
    assert member_id(digest(name) for name in names) == member_id(digest(name) for name in "abcd")
    assert generation_id(names) == generation_id("abcd")


def test_path_size_and_content_each_change_the_id_and_mode_and_time_do_not() -> None:
    plain = digest("a.pt")
    different = {member_id([plain]), member_id([digest("b.pt")]), member_id([digest("a.pt", size=4)])}
    different.add(member_id([digest("a.pt", sha256="cd" * 32)]))
    assert len(different) == 4
    assert member_id([msgspec.structs.replace(plain, mode=0o600, mtime_ns=0)]) == member_id([plain])


def test_an_id_is_16_lower_case_hex_digits() -> None:
    assert is_id("0123456789abcdef")
    for wrong in ("0123456789ABCDEF", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeg", "0123456789abcdef\n"):
        assert not is_id(wrong)
