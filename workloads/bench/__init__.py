"""What a training costs on this machine: time by part, tokens a second, memory; one config, or two in turn."""
