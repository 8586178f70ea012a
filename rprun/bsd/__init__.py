"""What macOS and the BSDs have where Linux has calls of its own; nothing here is loaded on Linux."""
