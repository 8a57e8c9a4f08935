"""Keevx: composes the wings, for one job or many."""
