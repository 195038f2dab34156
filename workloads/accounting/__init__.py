"""What runs cost: before they start, after they ended, and against a team's budget. Pure."""
