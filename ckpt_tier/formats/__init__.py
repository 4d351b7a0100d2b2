"""Validators of checkpoint files. `check_for` finds the one for a file; each looks at bytes, never runs them."""
