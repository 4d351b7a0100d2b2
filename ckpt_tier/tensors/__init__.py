"""Reading single tensors by range: what is in a checkpoint file, and one tensor's bytes, without fetching the rest."""
