"""The observation model: what can be seen on this host, what was asked for, what was seen, and where it goes.

Nothing in here is imported by a run that is not observed.
"""
