"""The ends a command runs on: its process, its PTYs and pipes, and the monitor that is its parent."""
