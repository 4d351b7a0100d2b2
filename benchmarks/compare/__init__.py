"""One command that measures ckpt-tier and its peers on the same files, against the same real MinIO, in one run.

    python -m benchmarks.compare                                  everything, five rounds: hours
    python -m benchmarks.compare --work upload-one --size 64MB    one work item, small
    python -m benchmarks.compare --from benchmarks/results.json    makes the page again, measures nothing

`python -m benchmarks.compare --help` has the rest. docs/benchmarks.md is what it writes.
"""
