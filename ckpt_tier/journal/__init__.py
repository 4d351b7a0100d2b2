"""The journal: what the worker remembers between starts. A cache; every row can be found out again."""
