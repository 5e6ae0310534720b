"""What runs inside a sandbox beside the agent. It trusts nobody and nobody trusts it."""
