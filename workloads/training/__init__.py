"""The worker: LLaMA-Factory's trainer with checkpoints that can be believed, signals and exit codes."""
