"""The secrets that only the gateway reads."""

import aws_cdk as cdk
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct


def secrets_below(scope: Construct, prefix: str) -> str:
    """The ARN of all secrets whose names begin so."""
    return cdk.Stack.of(scope).format_arn(
        service="secretsmanager",
        resource="secret",
        resource_name=f"{prefix}*",
        arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
    )


class Secrets(Construct):
    """The master key, from which the doors' keys are derived; and the model's key, unless Bedrock answers:
    then none exists anywhere. The operator puts the latter's value in (docs/deploy.md).
    """

    def __init__(self, scope: Construct, model: str) -> None:
        super().__init__(scope, "Secrets")
        keep = cdk.RemovalPolicy.RETAIN
        self.master_key = secretsmanager.Secret(
            self,
            "MasterKey",
            description="opensessions: the doors of all sandboxes open to keys derived from this one",
            generate_secret_string=secretsmanager.SecretStringGenerator(
                exclude_characters="ghijklmnopqrstuvwxyz",
                exclude_uppercase=True,
                exclude_punctuation=True,
                include_space=False,
                password_length=64,
                require_each_included_type=False,
            ),
            removal_policy=keep,
        )
        self.model_key = (
            secretsmanager.Secret(
                self,
                "ModelKey",
                description="opensessions: the API key of the model; put its value in by hand",
                removal_policy=keep,
            )
            if model == "anthropic"
            else None
        )
