"""The one door to the Linux kernel: everything that needs ctypes."""
