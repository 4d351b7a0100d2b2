import errno
import os
from pathlib import Path

import pytest

from ckpt_tier.core.nouns import Stamp
from ckpt_tier.errors import UsageError
from ckpt_tier.inbox import Inbox, Ticket


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    (tmp_path / "5.pt").write_bytes(b"abc")
    return Inbox(tmp_path)


def drop(inbox: Inbox, path: str = "5.pt", saved_at: float = 100.0) -> Ticket:
    return inbox.drop(path, series="main", step=5, saved_at=saved_at, metrics={"loss": 1.0})


def test_a_ticket_says_what_the_file_was_and_its_link_keeps_the_bytes(inbox: Inbox) -> None:
    status = (inbox.hot / "5.pt").stat()
    ticket = drop(inbox)
    assert list(inbox.tickets()) == [ticket]
    assert ticket.stamp == Stamp(status.st_ino, 3, status.st_mtime_ns)
    assert ticket.metrics == {"loss": 1.0}
    (inbox.hot / "5.pt").unlink()
    [link] = ticket.links
    assert (inbox.unsent / link).read_bytes() == b"abc"
    assert inbox.links()[link].st_nlink == 1


def test_tickets_come_in_the_order_of_saving(inbox: Inbox) -> None:
    times = [300.0, 5.0, 20_000_000.0, 100.0]
    for at in times:
        drop(inbox, saved_at=at)
    assert [ticket.saved_at for ticket in inbox.tickets()] == sorted(times)


def test_a_folder_without_an_inbox_has_nothing_in_it(inbox: Inbox) -> None:
    assert list(inbox.tickets()) == []
    assert inbox.links() == {}
    assert inbox.unreadable() == []
    inbox.resolve("nobody")
    inbox.dismiss("nobody")
    inbox.release("nothing")
    inbox.release_spare("nothing")
    assert not inbox.is_waiting("nobody")


def test_a_ticket_goes_when_its_save_is_committed(inbox: Inbox) -> None:
    ticket = drop(inbox)
    assert inbox.is_waiting(ticket.id)
    inbox.resolve(ticket.id)
    assert not inbox.is_waiting(ticket.id)
    assert list(inbox.folder.iterdir()) == []


def test_a_rejected_ticket_stays_under_another_name_until_it_is_dismissed(inbox: Inbox) -> None:
    ticket = drop(inbox)
    inbox.resolve(ticket.id, rejected=True)
    assert inbox.is_rejected(ticket.id)
    assert list(inbox.tickets()) == []
    inbox.dismiss(ticket.id)
    assert not inbox.is_rejected(ticket.id)


def test_a_kill_between_link_and_ticket_leaves_a_link_that_belongs_to_nobody(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Kill(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Kill

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(Kill):
        drop(inbox)
    monkeypatch.undo()
    assert list(inbox.tickets()) == []
    [link] = inbox.links()
    inbox.release_spare(link)
    assert inbox.links() == {}
    assert (inbox.hot / "5.pt").read_bytes() == b"abc"


def test_a_spare_link_that_has_become_the_last_name_is_kept(inbox: Inbox) -> None:
    ticket = drop(inbox)
    [link] = ticket.links
    (inbox.hot / "5.pt").unlink()
    inbox.release_spare(link)
    assert list(inbox.links()) == [link]
    inbox.release(link)
    assert inbox.links() == {}


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EXDEV])
def test_where_there_are_no_links_the_ticket_stands_alone(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    inbox.folder.mkdir(parents=True)
    monkeypatch.setattr(os, "link", no_links)
    ticket = drop(inbox)
    assert ticket.links == ()
    assert list(inbox.tickets()) == [ticket]
    assert ticket.stamp.size == 3


def test_any_other_failure_to_link_is_an_error(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="full"):
        drop(inbox)


def test_a_file_replaced_between_link_and_look_is_not_taken_for_the_linked_one(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.unsent.mkdir(parents=True)
    inbox.folder.mkdir()
    linked = (inbox.hot / "5.pt").stat().st_ino
    link = os.link

    def then_replaced(source: Path, target: Path, **options: bool) -> None:
        link(source, target, **options)
        (inbox.hot / "new").write_bytes(b"other!")
        (inbox.hot / "new").replace(inbox.hot / "5.pt")

    monkeypatch.setattr(os, "link", then_replaced)
    ticket = drop(inbox)
    assert (ticket.stamp.inode, ticket.stamp.size) == (linked, 3)


def test_a_file_that_is_not_there_cannot_be_handed_over(inbox: Inbox) -> None:
    with pytest.raises(FileNotFoundError):
        drop(inbox, "6.pt")
    assert inbox.links() == {}


def test_only_plain_files_can_be_handed_over(inbox: Inbox) -> None:
    (inbox.hot / "latest.pt").symlink_to("5.pt")
    (inbox.hot / "folder").mkdir()
    (inbox.hot / "odd" / "inner").mkdir(parents=True)
    (inbox.hot / "odd" / "inner" / "link").symlink_to("5.pt")
    for path in ("latest.pt", "folder", "odd"):
        with pytest.raises(UsageError, match=r"no plain file|empty folder"):
            drop(inbox, path)
    assert inbox.links() == {}


@pytest.mark.parametrize("content", [b"", b"{", b'{"id": 5}', b'{"version":1,"rm":"-rf"}', b"\xff\xfe"])
def test_a_spool_file_that_is_no_ticket_is_named_and_left_alone(inbox: Inbox, content: bytes) -> None:
    ticket = drop(inbox)
    (inbox.folder / "0-broken.json").write_bytes(content)
    (inbox.folder / ".half.tmp").write_bytes(content)
    assert list(inbox.tickets()) == [ticket]
    assert inbox.unreadable() == ["0-broken.json"]
    assert (inbox.folder / "0-broken.json").exists()


def test_the_ticket_that_holds_nothing_is_found_without_reading_the_others_again(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    (tmp_path / "a.pt").write_bytes(b"x")
    ticket = inbox.drop("a.pt", series="main", step=1, saved_at=1.0)
    (inbox.folder / "0-broken.json").write_text("{")
    read: list[str] = []
    honest = Path.read_bytes

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or honest(path))
        assert inbox.unreadable([ticket]) == ["0-broken.json"]

    assert read == ["0-broken.json"]
