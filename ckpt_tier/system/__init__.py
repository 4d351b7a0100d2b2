"""The operating system: durable files, digests, locks, leases and the clock."""
