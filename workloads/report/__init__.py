"""The page that tells the story of one run."""
