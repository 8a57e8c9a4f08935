"""The same job with each peer's SDK. These programs run in the peers' virtual environment."""
