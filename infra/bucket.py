"""The bucket for what is too large for the table."""

import aws_cdk as cdk
from aws_cdk import aws_s3 as s3
from constructs import Construct


class Bucket(Construct):
    """Private, encrypted, over TLS alone; kept when the stack goes. Old versions go after a month, objects
    of sessions after `retention_days`, if given.
    """

    def __init__(self, scope: Construct, retention_days: int | None) -> None:
        super().__init__(scope, "Bucket")
        day = cdk.Duration.days
        self.bucket = s3.Bucket(
            self,
            "Bucket",
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            versioned=True,
            removal_policy=cdk.RemovalPolicy.RETAIN,
            lifecycle_rules=[
                s3.LifecycleRule(
                    abort_incomplete_multipart_upload_after=day(1),
                    noncurrent_version_expiration=day(30),
                    expiration=day(retention_days) if retention_days else None,
                )
            ],
        )
