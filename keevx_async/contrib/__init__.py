"""What connects a client to other packages, each an extra of its own."""
