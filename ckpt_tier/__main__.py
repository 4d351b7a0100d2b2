"""`python -m ckpt_tier` is `ckpt-tier`."""

from ckpt_tier.cli import main

main()
