"""The command line as a subprocess, over a folder as the cold tier."""
