"""A real SFTP server on loopback, made of paramiko's server side over a folder, that can be told to misbehave.

`rename` refuses to replace and `posix_rename` replaces, as with OpenSSH.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import paramiko
import pytest
from paramiko import (
    SFTP_FAILURE,
    SFTP_OK,
    SFTP_PERMISSION_DENIED,
    SFTPAttributes,
    SFTPHandle,
    SFTPServer,
    SFTPServerInterface,
)

USER = "trainer"


class Trouble:
    """What goes wrong."""

    def __init__(self) -> None:
        self.cut_after: int | None = None
        """The connection breaks once so many bytes were written."""
        self.lose_from: int | None = None
        """Bytes from this offset of a file on are acknowledged and not written."""
        self.zero_from: int | None = None
        """Bytes from this offset of a file on are written as zeros."""
        self.flip_at: int | None = None
        """The byte at this offset of a file is written with one bit changed."""
        self.rename_replaces = False
        self.hung = threading.Event()
        """While it is set, nothing is read from files."""
        self.denied = False
        """No file may be opened."""
        self.on_rename: Callable[[], None] = lambda: None
        self.written = 0


class Sftp(msgspec.Struct):
    """A running server. `root` is the folder that it shows as /."""

    root: Path
    port: int
    trouble: Trouble
    transports: list[Any]

    def url(self, path: str) -> str:
        return f"sftp://{USER}@127.0.0.1:{self.port}/{path}"

    def disconnect(self) -> None:
        """Cuts every connection there is, and none that is made meanwhile."""
        there, self.transports = self.transports, []
        for transport in there:
            transport.close()


class _Login(paramiko.ServerInterface):
    def __init__(self, key: paramiko.PKey) -> None:
        self._key = key

    def get_allowed_auths(self, _username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        known = username == USER and key == self._key
        return paramiko.AUTH_SUCCESSFUL if known else paramiko.AUTH_FAILED

    def check_channel_request(self, _kind: str, _number: int) -> int:
        return paramiko.OPEN_SUCCEEDED


class _Handle(SFTPHandle):
    def __init__(self, file: Any, trouble: Trouble, cut: Callable[[], None], flags: int) -> None:
        super().__init__(flags)
        self.readfile = self.writefile = file
        self._trouble = trouble
        self._cut = cut

    def stat(self) -> SFTPAttributes:
        return SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))

    def write(self, offset: int, data: bytes) -> int:
        trouble = self._trouble
        trouble.written += len(data)
        if trouble.cut_after is not None and trouble.written > trouble.cut_after:
            trouble.cut_after = None
            self._cut()
            return SFTP_FAILURE
        if trouble.lose_from is not None and offset + len(data) > trouble.lose_from:
            data = data[: max(0, trouble.lose_from - offset)]
        if trouble.zero_from is not None and offset + len(data) > trouble.zero_from:
            kept = data[: max(0, trouble.zero_from - offset)]
            data = kept + bytes(len(data) - len(kept))
        if trouble.flip_at is not None and offset <= trouble.flip_at < offset + len(data):
            wrong = bytearray(data)
            wrong[trouble.flip_at - offset] ^= 1
            data = bytes(wrong)
        os.pwrite(self.writefile.fileno(), data, offset)
        return SFTP_OK

    def read(self, offset: int, length: int) -> bytes:
        while self._trouble.hung.is_set():
            threading.Event().wait(0.05)
        return os.pread(self.readfile.fileno(), length, offset)


def _answering(call: Callable[..., int]) -> Callable[..., int]:
    """Errors of the operating system as SFTP's."""

    def answer(self: "_Files", *arguments: Any) -> int:
        try:
            return call(self, *arguments)
        except OSError as error:
            return int(SFTPServer.convert_errno(error.errno))

    return answer


class _Files(SFTPServerInterface):
    def __init__(self, server: Any, root: Path, trouble: Trouble, cut: Callable[[], None]) -> None:
        super().__init__(server)
        self._root = root
        self._trouble = trouble
        self._cut = cut
        self._opened: list[_Handle] = []

    def session_ended(self) -> None:
        """paramiko closes the files after the channel, and so not at all where the client was killed at a moment at
        which closing the channel raises."""
        for handle in self._opened:
            handle.close()

    def _real(self, path: str) -> str:
        return f"{self._root}/{self.canonicalize(path)}"

    @_answering
    def list_folder(self, path: str) -> Any:
        return [
            SFTPAttributes.from_stat(entry.stat(follow_symlinks=False), entry.name)
            for entry in os.scandir(self._real(path))
        ]

    @_answering
    def stat(self, path: str) -> Any:
        return SFTPAttributes.from_stat(Path(self._real(path)).stat())

    @_answering
    def lstat(self, path: str) -> Any:
        return SFTPAttributes.from_stat(Path(self._real(path)).lstat())

    @_answering
    def open(self, path: str, flags: int, _attributes: Any) -> Any:
        if self._trouble.denied:
            return SFTP_PERMISSION_DENIED
        writes = flags & (os.O_WRONLY | os.O_RDWR)
        descriptor = os.open(self._real(path), flags & ~os.O_WRONLY | (os.O_RDWR if writes else 0), 0o644)
        handle = _Handle(os.fdopen(descriptor, "r+b" if writes else "rb", 0), self._trouble, self._cut, flags)
        self._opened.append(handle)
        return handle

    @_answering
    def remove(self, path: str) -> int:
        Path(self._real(path)).unlink()
        return int(SFTP_OK)

    @_answering
    def rename(self, old: str, new: str) -> int:
        self._trouble.on_rename()
        if self._trouble.rename_replaces:
            Path(self._real(old)).replace(self._real(new))
        else:
            os.link(self._real(old), self._real(new))
            Path(self._real(old)).unlink()
        return int(SFTP_OK)

    @_answering
    def posix_rename(self, old: str, new: str) -> int:
        Path(self._real(old)).replace(self._real(new))
        return int(SFTP_OK)

    @_answering
    def mkdir(self, path: str, _attributes: Any) -> int:
        Path(self._real(path)).mkdir()
        return int(SFTP_OK)

    @_answering
    def rmdir(self, path: str) -> int:
        Path(self._real(path)).rmdir()
        return int(SFTP_OK)


@contextlib.contextmanager
def running_sftp(root: Path, home: Path) -> Iterator[Sftp]:
    """A server over `root`; `home` becomes a home folder whose ``.ssh`` knows the server and holds a key for it."""
    server_key, user_key = paramiko.ECDSAKey.generate(), paramiko.ECDSAKey.generate()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    ssh = home / ".ssh"
    ssh.mkdir(mode=0o700)
    user_key.write_private_key_file(str(ssh / "id_ecdsa"))
    (ssh / "known_hosts").write_text(f"[127.0.0.1]:{port} {server_key.get_name()} {server_key.get_base64()}\n")
    sftp = Sftp(root, port, Trouble(), [])

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            sftp.transports.append(transport)
            transport.add_server_key(server_key)
            transport.set_subsystem_handler("sftp", SFTPServer, _Files, root, sftp.trouble, sftp.disconnect)
            with contextlib.suppress(EOFError, paramiko.SSHException, OSError):
                transport.start_server(event=threading.Event(), server=_Login(user_key))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield sftp
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
        sftp.disconnect()


@pytest.fixture(scope="session")
def sftp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sftp, Path]]:
    """A server for all tests, and the home folder that knows it."""
    home = tmp_path_factory.mktemp("home")
    with running_sftp(tmp_path_factory.mktemp("sftp"), home) as server:
        yield server, home


@pytest.fixture
def sftp(sftp_server: tuple[Sftp, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Sftp]:
    """A server that behaves, and this process at home where it is known."""
    server, home = sftp_server
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    yield server
    server.trouble.__init__()  # type: ignore[misc]  # all as it was
