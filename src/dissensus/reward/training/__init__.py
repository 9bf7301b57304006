"""Training runs: trainer, checkpoints, sweeps."""
