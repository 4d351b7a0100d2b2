"""The cold tier's objects by name: runs, manifests, checksum lists, and the cache of manifest bodies."""
