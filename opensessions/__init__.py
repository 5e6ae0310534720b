"""An open, self-hostable sessions API: a prompt in, a coding agent in a sandbox with a live preview out."""
