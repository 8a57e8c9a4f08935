"""The version, named once."""

VERSION = "0.1.0"
