"""What is measured: small programs, each run in a process of its own by the Python of its peer. Standard library and
the peer's own package only, for theirs may have nothing else."""
