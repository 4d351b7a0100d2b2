"""The hot tier: layouts of the training folder, recognising and scanning it, and its free space."""
