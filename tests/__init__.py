"""The tests. Fixtures are in `tests.minio` (servers) and `tests.stores` (stores and sources)."""
