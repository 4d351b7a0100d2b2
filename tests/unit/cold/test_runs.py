import threading
from pathlib import Path

import pytest

from ckpt_tier.cold import keys
from ckpt_tier.cold.runs import join_run, list_runs, read_run
from ckpt_tier.errors import ConfigError, IntegrityError, KeyExistsError
from ckpt_tier.store.folder import FolderStore
from tests.builders import START
from tests.stores import folder_store


@pytest.fixture
def folder(tmp_path: Path) -> FolderStore:
    return folder_store(tmp_path / "cold")


def test_the_first_to_come_begins_the_run_and_the_next_joins_it(folder: FolderStore) -> None:
    assert read_run(folder, "run") is None
    first = join_run(folder, "run", None, new_id="a" * 16, now=START)
    second = join_run(folder, "run", None, new_id="b" * 16, now=START + 5)
    assert first == second == read_run(folder, "run")
    assert first.id == "a" * 16


def test_of_two_at_once_one_begins_the_run_and_both_hold_its_document(folder: FolderStore) -> None:
    barrier = threading.Barrier(8)
    found = []

    def join(number: int) -> None:
        barrier.wait()
        found.append(join_run(folder, "run", None, new_id=f"{number:016x}", now=START))

    threads = [threading.Thread(target=join, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert set(found) == {read_run(folder, "run")}


def test_a_run_that_comes_between_the_look_and_the_put_is_joined(folder: FolderStore) -> None:
    class Raced(FolderStore):
        def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
            join_run(folder, "run", None, new_id="a" * 16, now=START)
            super().put(key, data, if_absent=if_absent)

    late = Raced(Path(folder.url))
    assert join_run(late, "run", None, new_id="b" * 16, now=START).id == "a" * 16
    with pytest.raises(KeyExistsError):
        folder.put(keys.run_key("run"), b"{}", if_absent=True)


def test_another_training_of_the_same_name_is_an_error_and_never_a_merge(folder: FolderStore) -> None:
    join_run(folder, "run", "a" * 16, new_id="c" * 16, now=START)
    with pytest.raises(ConfigError, match="another training") as caught:
        join_run(folder, "run", "b" * 16, new_id="c" * 16, now=START)
    assert "a" * 16 in caught.value.why
    assert join_run(folder, "run", "a" * 16, new_id="c" * 16, now=START).id == "a" * 16


def test_a_run_document_that_is_broken_is_not_taken_for_a_missing_one(folder: FolderStore) -> None:
    folder.put(keys.run_key("run"), b'{"format": 1, "id": "a", "id": "b", "created_at": ""}')
    with pytest.raises(IntegrityError):
        join_run(folder, "run", None, new_id="c" * 16, now=START)


def test_only_folders_with_a_run_document_and_a_fit_name_are_runs(folder: FolderStore) -> None:
    for run in ("b", "a"):
        join_run(folder, run, None, new_id="c" * 16, now=START)
    folder.put("Not-A-Name/run.json", b"{}")
    folder.put("no-run/other.json", b"{}")
    assert list_runs(folder) == ["a", "b"]
