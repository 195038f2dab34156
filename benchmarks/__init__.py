"""Speed, as ratios against what a person would use instead, measured in the same run."""
