"""The documents of ``--json``, a module for each command, so that none pays for what another one tells of.

Fields are added, never renamed or removed; ``docs/json.md`` is written from here. Integers in ``*_bytes`` and
``*_seconds``, times in RFC 3339 UTC.
"""
