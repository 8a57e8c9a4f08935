"""The same job done with each peer's SDK; run in their own virtual environment."""
