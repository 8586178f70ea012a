"""psutil-poll: the table of processes, and what they have open, looked at again and again. Works anywhere.

`host` says what can be asked of a system, `host_portable` asks psutil and `host_linux` asks /proc where that tells more
for less. `tree` follows the command's processes from look to look, `programs`, `files` and `sockets` make events of
what is new, `pace` says when to look again, `poller` does all of it on a thread of its own, and `backend` hands the
events on. `probing` says how much that is here.
"""
