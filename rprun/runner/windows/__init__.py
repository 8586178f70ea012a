"""One run on Windows.

There is nothing that waits for a pipe, a process and a console at once. So threads wait for one each, and what they
have found out is dealt with by one, in the order in which it came.
"""
