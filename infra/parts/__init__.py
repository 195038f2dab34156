"""One module for each part of an environment; a part is a function that adds its resources to a stack."""
