"""SFTP as fsspec speaks it, made fit for a cold tier: known servers only, an end to every wait, many requests under way
at once, flushed files, and a rename that replaces nothing.

Import only when an ``sftp://`` URL is opened: paramiko is an optional dependency.
"""

import contextlib
import logging
from pathlib import Path
from typing import Any

import paramiko
from fsspec.implementations.sftp import SFTPFileSystem
from paramiko.sftp import CMD_EXTENDED, CMD_READ, CMD_STATUS, int64

from ckpt_tier.errors import AccessDeniedError

SECONDS = 60
"""How long one answer of the server may take."""
_KEEP_ALIVE = 30
_REQUEST = 2**15
"""Bytes per read that every server gives: https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02#section-3"""
_UNDER_WAY = 64
_OUR_OPTIONS = ("use_listings_cache",)

# paramiko logs the tracebacks of what it also raises; without a handler Python would print them.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class KnownServers(SFTPFileSystem):  # type: ignore[misc]  # fsspec is untyped
    """fsspec's SFTP, for one thread at a time.

    fsspec trusts any server: here only one whose key is in ``known_hosts``. ``~/.ssh/config`` is followed for HostName,
    Port, User and IdentityFile; keys come from there, from an agent and from ``~/.ssh``.

    Construction raises AccessDeniedError (an unknown server), paramiko's exceptions, OSError.
    """

    def _connect(self) -> None:
        given = {name: value for name, value in self.ssh_kwargs.items() if name not in _OUR_OPTIONS}
        host, options = _from_ssh_config(self.host)
        self.client = paramiko.SSHClient()
        try:
            self.client.load_system_host_keys()
            with contextlib.suppress(OSError):  # there need not be one for the whole machine
                self.client.load_system_host_keys("/etc/ssh/ssh_known_hosts")
            self.client.set_missing_host_key_policy(_Unknown())
            limits = {"timeout": SECONDS, "banner_timeout": SECONDS, "auth_timeout": SECONDS}
            self.client.connect(host, **limits, **{**options, **given})
            self.ftp = self.client.open_sftp()
            self.ftp.get_channel().settimeout(SECONDS)
            self.client.get_transport().set_keepalive(_KEEP_ALIVE)
        except BaseException:
            self.client.close()
            raise

    def close(self) -> None:
        """Ends the connection."""
        self.client.close()

    def _open(self, path: str, mode: str = "rb", **_options: Any) -> Any:
        file = self.ftp.open(path, mode, bufsize=0)
        if "r" not in mode:
            # Without this, each 32 KiB waits for the server. What becomes of each is not looked at then: whoever writes
            # must look at the file afterwards.
            file.set_pipelined(True)
        return file

    def sync_file(self, file: Any) -> None:
        """Has the server flush a written file to its disk, where it can (OpenSSH does, from 6.5 on).

        https://github.com/openssh/openssh-portable/blob/master/PROTOCOL, section 4.5. Raises OSError.
        """
        file.flush()
        try:
            self.ftp._request(CMD_EXTENDED, "fsync@openssh.com", file.handle)
        except OSError as error:
            if "support" not in str(error).lower():  # as in "Operation unsupported"
                raise

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_options: Any) -> bytes:
        """The bytes from `start` to `end`, fewer where the file ends before."""
        with self.ftp.open(path, "rb", bufsize=0) as file:
            size = file.stat().st_size or 0
            return _Ahead(self.ftp, file.handle).read(start or 0, size if end is None else min(end, size))

    def mv(self, old: str, new: str, **_options: Any) -> None:
        """Renames, and replaces what is there."""
        self.ftp.posix_rename(old, new)

    def rename_new(self, old: str, new: str) -> None:
        """Renames; raises FileExistsError where something is there. Atomic on servers that keep to the standard.

        "It is an error if there already exists a file with the name specified by newpath":
        https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02#section-6.5. OpenSSH links and unlinks.
        """
        try:
            self.ftp.rename(old, new)
        except (FileNotFoundError, PermissionError):
            raise
        except OSError as error:
            # SFTP has no word for "it exists": it answers "Failure".
            with contextlib.suppress(FileNotFoundError):
                self.ftp.stat(new)
                raise FileExistsError(new) from error
            raise


class _Ahead:
    """Reads of one open file, many of them asked for before the first is answered.

    paramiko's own reading ahead does it with a thread that sends while another does, and was seen to stand still for
    seconds. This takes its place in paramiko's bookkeeping as a file would.
    """

    def __init__(self, ftp: Any, handle: bytes) -> None:
        self._ftp = ftp
        self._handle = handle
        self._asked: dict[int, int] = {}  # request number → offset
        self._came: dict[int, bytes] = {}  # offset → bytes

    def read(self, start: int, end: int) -> bytes:
        """Bytes `start` … `end`; fewer where the server gives fewer."""
        for offset in range(start, end, _REQUEST):
            if len(self._asked) >= _UNDER_WAY:
                self._ftp._read_response()
            length = min(_REQUEST, end - offset)
            number = self._ftp._async_request(self, CMD_READ, self._handle, int64(offset), length)
            self._asked[number] = offset
        while self._asked:
            self._ftp._read_response()
        return self._joined(start)

    def _async_response(self, kind: int, message: Any, number: int) -> None:
        offset = self._asked.pop(number)
        if kind == CMD_STATUS:
            self._ftp._convert_status(message)  # raises
        self._came[offset] = message.get_string()

    def _joined(self, start: int) -> bytes:
        """What came without a gap. (A server may answer with less than was asked for.)"""
        blocks = []
        position = start
        while block := self._came.get(position):
            blocks.append(block)
            position += len(block)
        return b"".join(blocks)


class _Unknown(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]  # so is paramiko
    """Refuses a server that nobody has vouched for: it might be anybody's."""

    def missing_host_key(self, _client: Any, hostname: str, key: Any) -> None:
        host, _, port = hostname.strip("[").partition("]:")
        option = f"-p {port} " if port else ""
        raise AccessDeniedError(
            f"the SFTP server {host} is not known",
            f"its {key.get_name()} key {key.fingerprint} is in no known_hosts file",
            f"if that is its key: ssh-keyscan {option}{host} >> ~/.ssh/known_hosts",
        )


def _from_ssh_config(host: str) -> tuple[str, dict[str, Any]]:
    """The real name of a host, and the arguments for `connect`, that ~/.ssh/config gives."""
    try:
        config = paramiko.SSHConfig.from_path(str(Path("~/.ssh/config").expanduser()))
    except FileNotFoundError:
        return host, {}
    found = config.lookup(host)
    options = {
        "port": int(found.get("port", 22)),
        "username": found.get("user"),
        "key_filename": found.get("identityfile"),
    }
    return found["hostname"], {name: value for name, value in options.items() if value is not None}
