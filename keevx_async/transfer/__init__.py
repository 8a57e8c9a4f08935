"""Files up, results down."""
