"""Files into a bucket: one request, or a multipart upload that goes on where a killed one stopped."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

from ckpt_tier.errors import (
    AccessDeniedError,
    KeyExistsError,
    MissingKeyError,
    SourceChangedError,
    UnavailableError,
)
from ckpt_tier.store.protocol import Source, Watch
from ckpt_tier.store.s3_errors import ChecksumRefusedError, UnsupportedError, UploadGoneError
from ckpt_tier.store.s3_proof import Proof, abandon
from ckpt_tier.store.s3_requests import MOST_PARALLEL_PARTS, PARALLEL_PARTS, Requests
from ckpt_tier.store.s3_resume import Done, Piece, unfinished
from ckpt_tier.store.source_body import PieceBody, checked_pieces, opened
from ckpt_tier.system.digests import to_base64
from ckpt_tier.system.streams import Streams, Width, in_streams

_FRESH_STARTS = 3
"""How often one call begins anew when its multipart upload disappears under it."""
_ASK_FIRST = 2**20
"""Above so many bytes one more request is cheaper than sending again what an earlier, killed call had finished."""


class Uploader:
    """Uploads to one bucket. Safe to use from several threads. Keys are whole keys of the bucket."""

    def __init__(self, requests: Requests, proof: Proof) -> None:
        self._requests = requests
        self._proof = proof
        self._width = Width(PARALLEL_PARTS)
        self._plain = False  # the store refused checksum headers: do without, and read back

    def upload(self, key: str, source: Source, watch: Watch) -> None:
        """See `ckpt_tier.store.protocol.Store.upload`."""
        cut = _cut(source)
        self._send(self._send_whole if len(cut) == 1 else self._send_pieces, key, source, cut, watch)

    def refresh(self, key: str, source: Source, watch: Watch) -> None:
        """See `ckpt_tier.store.protocol.Store.refresh`."""
        if not self._proof.holds(key, source):
            raise self._taken(key)
        cut = _cut(source)
        self._send(self._write_whole if len(cut) == 1 else self._write_pieces, key, source, cut, watch)

    def _send(self, send: "_Sending", key: str, source: Source, cut: Sequence[Piece], watch: Watch) -> None:
        """Opens the source and sends it, without checksums if the store refuses those."""
        with opened(source) as descriptor:
            try:
                send(key, source, cut, descriptor, watch)
            except UnsupportedError:
                if self._plain:
                    raise
                self._plain = True
                try:
                    send(key, source, cut, descriptor, watch)
                except UnsupportedError:  # then it was not the checksums
                    self._plain = False
                    raise

    # One request

    def _send_whole(self, key: str, source: Source, cut: Sequence[Piece], descriptor: int, watch: Watch) -> None:
        if (self._plain or source.size > _ASK_FIRST) and self._is_there(key, source):
            watch.resumed(source.size)
            return
        try:
            self._write_whole(key, source, cut, descriptor, watch, **self._if_absent())
        except KeyExistsError as error:
            if not self._is_there(key, source):  # another write of it was under way, and has failed
                raise UnavailableError(error.what, error.why, "it is tried again") from error
            watch.resumed(0)

    def _write_whole(
        self, key: str, source: Source, cut: Sequence[Piece], descriptor: int, watch: Watch, **condition: str
    ) -> None:
        body = self._body(source, descriptor, cut[0], watch, threading.Event())
        with _line_trouble_is_worth_another_try(body):
            answer = self._requests.send(
                "put_object",
                key,
                Body=body,
                **self._checksum(cut[0].crc),
                **condition,
                **self._requests.encryption(),
            )
        if not self._proof.answer_proves(answer, source):
            self._proof.check_written(key, source)

    def _body(
        self, source: Source, descriptor: int, piece: Piece, watch: Watch, stopped: threading.Event
    ) -> PieceBody | bytes:
        if piece.length == 0:
            return b""
        checked = not self._plain and self._proof.known_to_verify()
        return PieceBody(
            source, descriptor, piece.offset, piece.length, piece.crc, watch, stopped, checked_by_store=checked
        )

    def _checksum(self, crc: int) -> dict[str, str]:
        return {} if self._plain else {"ChecksumCRC64NVME": to_base64(crc)}

    def _if_absent(self) -> dict[str, str]:
        return {} if self._plain else {"IfNoneMatch": "*"}

    def _is_there(self, key: str, source: Source) -> bool:
        """Whether the same object is there already; raises KeyExistsError when it is another one."""
        try:
            if self._proof.holds(key, source):
                return True
        except (MissingKeyError, AccessDeniedError):
            # 403 is what a missing key answers without s3:ListBucket; if the credentials are bad, the next request
            # says so in its own words.
            return False
        raise self._taken(key)

    def _taken(self, key: str) -> KeyExistsError:
        return KeyExistsError(
            f"s3://{self._requests.bucket}/{key} is already there with other bytes",
            fix="nothing was overwritten; remove that object if it does not belong there",
        )

    # Several requests

    def _send_pieces(self, key: str, source: Source, cut: Sequence[Piece], descriptor: int, watch: Watch) -> None:
        if self._is_there(key, source):
            watch.resumed(source.size)
            return
        for _ in range(_FRESH_STARTS):
            try:
                self._attempt(key, source, cut, descriptor, watch)
            except UploadGoneError as error:
                gone = error
                if self._is_there(key, source):  # somebody else finished it
                    watch.resumed(0)
                    return
            else:
                return
        raise gone

    def _attempt(self, key: str, source: Source, cut: Sequence[Piece], descriptor: int, watch: Watch) -> None:
        upload_id, done = unfinished(self._requests, key, cut, need_checksums=not self._plain) or (self._begin(key), [])
        missing = [piece for piece in cut if piece.number not in {had.number for had in done}]
        if done:
            watch.resumed(source.size - sum(piece.length for piece in missing))
        try:
            done += self._send_parts(key, upload_id, source, missing, descriptor, watch)
            self._complete(key, upload_id, source, done, watch, **self._if_absent())
        except (SourceChangedError, KeyExistsError):
            abandon(self._requests, key, upload_id)  # its parts can be of no use to a later attempt
            raise

    def _write_pieces(self, key: str, source: Source, cut: Sequence[Piece], descriptor: int, watch: Watch) -> None:
        """A new upload whatever an earlier one had finished: the object is as old as the beginning of its upload."""
        upload_id = self._begin(key)
        try:
            done = self._send_parts(key, upload_id, source, cut, descriptor, watch)
            self._complete(key, upload_id, source, done, watch)
        except BaseException:
            abandon(self._requests, key, upload_id)
            raise

    def _begin(self, key: str) -> str:
        checksum = {} if self._plain else {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"}
        answer = self._requests.send("create_multipart_upload", key, **checksum, **self._requests.encryption())
        return str(answer["UploadId"])

    def _send_parts(
        self, key: str, upload_id: str, source: Source, missing: Sequence[Piece], descriptor: int, watch: Watch
    ) -> list[Done]:
        """Sends pieces, a few at once. The first error ends the others; what they finished stays in the store."""
        stopped = threading.Event()
        streams = Streams(self._width, min(MOST_PARALLEL_PARTS, max(1, len(missing))))
        counted = _Counted(watch, streams)
        waiting = iter(missing)
        done: list[Done] = []

        def send(piece: Piece) -> None:
            body = self._body(source, descriptor, piece, counted, stopped)
            with _line_trouble_is_worth_another_try(body):
                answer = self._requests.send(
                    "upload_part",
                    key,
                    UploadId=upload_id,
                    PartNumber=piece.number,
                    Body=body,
                    **self._checksum(piece.crc),
                )
            done.append(Done(piece.number, answer["ETag"], piece.crc))

        in_streams(send, lambda: next(waiting, None), streams, stopped)
        return done

    def _complete(
        self, key: str, upload_id: str, source: Source, done: list[Done], watch: Watch, **condition: str
    ) -> None:
        parts = [
            {"PartNumber": part.number, "ETag": part.etag, **self._checksum(part.crc)}
            for part in sorted(done, key=lambda one: one.number)
        ]
        whole = {} if self._plain else {
            **self._checksum(int(source.crc64nvme, 16)),
            "ChecksumType": "FULL_OBJECT",
            "MpuObjectSize": source.size,
        }  # fmt: skip
        try:
            answer = self._requests.send(
                "complete_multipart_upload",
                key,
                UploadId=upload_id,
                MultipartUpload={"Parts": parts},
                **whole,
                **condition,
            )
        except ChecksumRefusedError as error:
            # Each part was right and they combine: the store lost or mixed one. Nothing of it is worth keeping.
            abandon(self._requests, key, upload_id)
            raise UnavailableError(error.what, error.why, "it is sent again from the start") from error
        except (KeyExistsError, UnavailableError):
            # Also where the answer to a request that succeeded was lost.
            if self._holds_now(key, source):
                watch.resumed(0)
                return
            raise
        if not self._proof.answer_proves(answer, source):
            self._proof.check_written(key, source)

    def _holds_now(self, key: str, source: Source) -> bool:
        try:
            return self._proof.holds(key, source)
        except (MissingKeyError, UnavailableError):
            return False


class _Counted:
    """A `Watch` by which `streams` learns what moves, too."""

    def __init__(self, watch: Watch, streams: Streams) -> None:
        self._watch = watch
        self._streams = streams
        self.resumed = watch.resumed

    def moved(self, count: int) -> None:
        self._streams.moved(count)
        self._watch.moved(count)


_Sending = Callable[[str, Source, Sequence[Piece], int, Watch], None]


def _cut(source: Source) -> list[Piece]:
    return [
        Piece(number, offset, length, crc)
        for number, (offset, length, crc) in enumerate(checked_pieces(source), start=1)
    ]


@contextlib.contextmanager
def _line_trouble_is_worth_another_try(body: PieceBody | bytes) -> Iterator[None]:
    """The store may refuse the checksum of `body`: the file has changed, or the bytes were damaged on the way."""
    try:
        yield
    except ChecksumRefusedError as error:
        if isinstance(body, PieceBody):
            body.check()
        raise UnavailableError(error.what, f"damaged on the way; {error.why}", "it is sent again") from error
