"""The tier that holds connections open: previews, event streams and the sandboxes' side."""
