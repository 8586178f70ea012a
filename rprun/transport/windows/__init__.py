"""The ends a command runs on under Windows: how it is found and its command line made, the pseudo console, pipes."""
