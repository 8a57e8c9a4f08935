"""The client: runs one job or many, using the other packages."""
