"""The HTTP face of the service: the public API and the callback that takes sandboxes' events."""
