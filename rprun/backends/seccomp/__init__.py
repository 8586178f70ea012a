"""seccomp-user-notify: what a tree of processes asks of the kernel, seen before the kernel acts, unprivileged."""
