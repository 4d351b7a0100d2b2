"""The document of any error."""

import msgspec


class ErrorDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Any error, on stderr: what happened, why, what to do."""

    schema: str = "ckpt-tier/error/1"
    error: str
    why: str
    hint: str
    exit_code: int
