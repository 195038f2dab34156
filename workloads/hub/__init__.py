"""The hub: where models come from and go to."""
