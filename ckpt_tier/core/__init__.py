"""Nouns, states, retention and units: pure values and decisions. Nothing in this package does I/O."""
