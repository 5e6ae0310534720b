"""Sandboxes that run before anybody asks for them."""
