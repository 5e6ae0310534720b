"""Where things are logged."""

import aws_cdk as cdk
from aws_cdk import aws_logs
from constructs import Construct


def month_of_logs(scope: Construct, name: str) -> aws_logs.LogGroup:
    """A log group that forgets after a month, and goes with the stack: no session's data is in it."""
    return aws_logs.LogGroup(
        scope,
        name,
        retention=aws_logs.RetentionDays.ONE_MONTH,
        removal_policy=cdk.RemovalPolicy.DESTROY,
    )
