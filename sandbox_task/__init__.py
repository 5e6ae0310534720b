"""What runs in a sandbox beside the agent. It is a stranger to the service: of `opensessions` it imports the
wire contract alone.
"""
