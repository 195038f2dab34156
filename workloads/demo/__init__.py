"""What `tunery demo` trains on: a tiny base model, and data in a small language made for it."""
