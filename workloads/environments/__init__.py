"""What stands in an environment: its costs, how two environments differ, and what a destroy would lose."""
