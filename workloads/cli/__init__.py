"""The ``tunery`` command: one module a verb."""
