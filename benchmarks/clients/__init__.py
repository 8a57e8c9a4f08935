"""Programs that the harness runs, each in a process of its own; each prints one line of JSON."""
