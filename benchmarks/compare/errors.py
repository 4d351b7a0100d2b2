"""What ends a measurement."""


class BenchmarkError(Exception):
    """A sentence for the person who measures."""


class FailedError(BenchmarkError):
    """A measured process failed, or did something else than it should."""
