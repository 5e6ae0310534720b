"""The bucket for what is too large for the table, and who may do what with it."""

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

SESSIONS, TEMPLATES = "sessions/*", "templates/*"
READ, WRITE = "s3:GetObject", "s3:PutObject"
DELETE = ("s3:DeleteObject", "s3:DeleteObjectVersion")
"""What is deleted is deleted for good, version by version; S3 asks for the first of these in any case."""
LIST = ("s3:ListBucket", "s3:ListBucketVersions")
"""Who may not list is told that what is not there is forbidden. Listing has no prefix that would bound it:
the answer to a read that finds nothing depends on it too.
"""


class Bucket(Construct):
    """Private, encrypted, over TLS alone; kept when the stack goes. Old versions go after a month; all else
    stays until its session is purged, because a session that sleeps for long comes back from old objects.
    """

    def __init__(self, scope: Construct) -> None:
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
                    abort_incomplete_multipart_upload_after=day(1), noncurrent_version_expiration=day(30)
                )
            ],
        )

    def grant(
        self, to: iam.IGrantable, *actions: str, beneath: tuple[str, ...] = (SESSIONS, TEMPLATES)
    ) -> None:
        """Exactly these actions, on objects with these names."""
        objects = [self.bucket.arn_for_objects(names) for names in beneath]
        self._allow(to, actions, objects)

    def grant_listing(self, to: iam.IGrantable) -> None:
        self._allow(to, LIST, [self.bucket.bucket_arn])

    def _allow(self, to: iam.IGrantable, actions: tuple[str, ...], resources: list[str]) -> None:
        statement = iam.PolicyStatement(actions=sorted(actions), resources=resources)
        to.grant_principal.add_to_principal_policy(statement)
