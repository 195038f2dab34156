"""Where a run runs: as processes on this machine."""
