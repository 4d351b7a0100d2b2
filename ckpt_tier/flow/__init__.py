"""The verbs: what is done with checkpoints. `reconcile` decides, the others do."""
