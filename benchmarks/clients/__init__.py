"""Programs that the harness runs in separate processes; each prints one line of JSON."""
