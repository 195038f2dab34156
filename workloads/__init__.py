"""What runs on the platform: training configs and run specs, the stages of a run, the worker, the hub and the CLI."""
