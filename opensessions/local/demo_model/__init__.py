"""A model that is no AI: it speaks the Anthropic Messages API and plays a scripted builder.

With it the real agent, its real tools, the real sandbox and the real preview run with no key and
no network. It says in its own answers what it is.
"""

from opensessions.local.demo_model.app import create_demo_model, demo_model

__all__ = ["create_demo_model", "demo_model"]
