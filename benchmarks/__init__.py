"""Side-by-side measurements of rprun and its peers: `python -m benchmarks [--quick] [NAME...]`."""
