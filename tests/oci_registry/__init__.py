"""A real registry of images for tests."""
