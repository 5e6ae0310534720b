"""Backends that are told what happened."""
