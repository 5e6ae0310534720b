"""Lists of addresses that AWS keeps, such as S3's in a region."""

from aws_cdk import aws_iam as iam
from aws_cdk import custom_resources as cr
from constructs import Construct


def prefix_list(scope: Construct, name: str, of: str) -> str:
    """The id of a list of addresses that AWS keeps; it is nowhere but in the account."""
    call = cr.AwsSdkCall(
        service="EC2",
        action="DescribeManagedPrefixLists",
        parameters={"Filters": [{"Name": "prefix-list-name", "Values": [of]}]},
        physical_resource_id=cr.PhysicalResourceId.of(of),
        output_paths=["PrefixLists.0.PrefixListId"],
    )
    found = cr.AwsCustomResource(
        scope,
        name,
        on_update=call,
        install_latest_aws_sdk=False,
        policy=cr.AwsCustomResourcePolicy.from_statements(
            [iam.PolicyStatement(actions=["ec2:DescribeManagedPrefixLists"], resources=["*"])]
        ),
    )
    return found.get_response_field("PrefixLists.0.PrefixListId")
