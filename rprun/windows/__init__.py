"""The door to Windows: ctypes calls of kernel32 and ntdll, and nothing that decides anything.

What stands above takes three modules from here: `console`, `process` and `environment`. They are all that the tests
put something else in the place of, where there is no Windows; so a function here does one thing and has no branches to
speak of.
"""
