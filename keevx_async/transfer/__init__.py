"""Upload local files, and download results."""
