"""A session from its creation to its end: what callers may do with it, and what becomes of it meanwhile."""
