"""Measurements on GPUs, each case in a process of its own; see ``__main__``."""
