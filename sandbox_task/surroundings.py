"""Where the agent finds its model and the world."""

from dataclasses import dataclass, field

from opensessions.handshake import derived_token


@dataclass(frozen=True)
class Surroundings:
    """What the agent can reach: http URLs of the model and of the way out, and its two tokens."""

    model_url: str
    egress_url: str
    model_token: str = field(repr=False)
    egress_token: str = field(repr=False)

    @classmethod
    def of(cls, model_url: str, egress_url: str, token: str) -> "Surroundings":
        return cls(model_url, egress_url, derived_token(token, "model"), derived_token(token, "egress"))
