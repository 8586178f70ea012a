"""One run: the process, the relay, the user's terminal, signals, limits, and the exit status."""
