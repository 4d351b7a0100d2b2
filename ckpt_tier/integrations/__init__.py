"""What other programs read checkpoints through."""
