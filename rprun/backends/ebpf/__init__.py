"""ebpf: what a tree of processes did, as programs in the kernel saw it; with outcomes, and without stopping anybody."""
