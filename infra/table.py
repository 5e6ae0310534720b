"""The single table (`opensessions.aws.table` spells its items), and how it survives mistakes."""

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from constructs import Construct

from opensessions.aws import table

WRITE = ("dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem")
"""A commit that is refused takes back the bodies that it put before."""
PURGE = "dynamodb:BatchWriteItem"
READ = ("dynamodb:GetItem", "dynamodb:Query")


class Table(Construct):
    """A new table, or, by `name`, one that was restored from a backup. Kept when the stack goes."""

    def __init__(self, scope: Construct, name: str | None) -> None:
        super().__init__(scope, "Table")
        if name:
            self.arn = cdk.Stack.of(self).format_arn(service="dynamodb", resource="table", resource_name=name)
            self.name = name
        else:
            made = self._made()
            self.arn, self.name = made.table_arn, made.table_name

    def grant(self, to: iam.IGrantable, *actions: str) -> None:
        """Exactly these actions, on the table alone."""
        statement = iam.PolicyStatement(actions=sorted(actions), resources=[self.arn])
        to.grant_principal.add_to_principal_policy(statement)

    def grant_listing(self, to: iam.IGrantable) -> None:
        """Reading the indexes: an account's sessions, and those that are due."""
        indexes = [f"{self.arn}/index/{name}" for name in table.INDEXES]
        statement = iam.PolicyStatement(actions=["dynamodb:Query"], resources=indexes)
        to.grant_principal.add_to_principal_policy(statement)

    def _made(self) -> dynamodb.TableV2:
        made = dynamodb.TableV2(
            self,
            "Table",
            partition_key=_key("pk"),
            sort_key=_key("sk"),
            global_secondary_indexes=[
                dynamodb.GlobalSecondaryIndexPropsV2(
                    index_name=index,
                    partition_key=_key(partition),
                    sort_key=_key(sort),
                    projection_type=dynamodb.ProjectionType.KEYS_ONLY,
                )
                for index, (partition, sort) in table.INDEXES.items()
            ],
            billing=dynamodb.Billing.on_demand(),
            time_to_live_attribute=table.TTL,
            deletion_protection=True,
            encryption=dynamodb.TableEncryptionV2.aws_managed_key(),
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        return made


def _key(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)
