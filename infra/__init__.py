"""The stack: one construct for each part that runs, under the part's name."""
