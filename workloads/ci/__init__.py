"""What continuous integration does with a push: which runs it changed, whether they may run, and sending them."""
