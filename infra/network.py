"""The network: what a sandbox can reach, and who can reach it."""

from urllib.parse import urlsplit

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_route53resolver as resolver
from constructs import Construct

from infra.addresses import prefix_list
from infra.context import Context

PUBLIC, SANDBOX_SIDE, EGRESS, DOOR = 8000, 8001, 8002, 7070
NAMESPACE = "opensessions.internal"
CIDR = "10.42.0.0/16"


SUBNETS = [
    ec2.SubnetConfiguration(
        name="public", subnet_type=ec2.SubnetType.PUBLIC, cidr_mask=20, map_public_ip_on_launch=False
    ),
    ec2.SubnetConfiguration(name="private", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED, cidr_mask=20),
]


class Network(Construct):
    """A VPC without NAT. Gateway tasks are in public subnets; private ones, which have no route, hold the
    load balancer unless it has a name of its own, and sandboxes unless `network` is open.

    A sandbox may open connections to the gateway's sandbox side and, for its image alone, to ECR and S3;
    only the gateway may open connections to it, and only to its door.
    """

    def __init__(self, scope: Construct, context: Context) -> None:
        super().__init__(scope, "Network")
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(CIDR),
            max_azs=2,
            nat_gateways=0,
            subnet_configuration=SUBNETS,
            restrict_default_security_group=False,
        )
        self.balancer = closed_group(self, "Balancer", self.vpc, "The load balancer")
        self.gateway = ec2.SecurityGroup(self, "Gateway", vpc=self.vpc, description="Tasks of the gateway")
        self.sandbox = closed_group(self, "Sandbox", self.vpc, "Sandboxes")
        self.gateway.add_ingress_rule(self.balancer, ec2.Port.tcp(PUBLIC), "previews and streams")
        self.balancer.add_egress_rule(self.gateway, ec2.Port.tcp(PUBLIC), "previews and streams")
        for port, what in ((SANDBOX_SIDE, "inbox, events and model"), (EGRESS, "egress proxy")):
            self.gateway.add_ingress_rule(self.sandbox, ec2.Port.tcp(port), what)
            self.sandbox.add_egress_rule(self.gateway, ec2.Port.tcp(port), what)
        self.gateway.add_ingress_rule(self.gateway, ec2.Port.tcp(SANDBOX_SIDE), "peers")
        self.sandbox.add_ingress_rule(self.gateway, ec2.Port.tcp(DOOR), "the door")
        chosen = self.vpc.select_subnets(subnet_group_name="private" if context.isolated else "public")
        one_zone = context.isolated and not context.standard  # where the one endpoint is
        self.sandbox_subnets = chosen.subnet_ids[:1] if one_zone else chosen.subnet_ids
        if context.isolated:
            self._pulls(context, chosen.subnets)
            self._names(context)
        else:
            self.sandbox.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(443), "network=open")
            self.sandbox.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(80), "network=open")

    def before(self, part: Construct) -> None:
        """Let the deployment have the way to the internet before this part, which needs it at once."""
        for subnet in self.vpc.public_subnets:
            part.node.add_dependency(subnet.internet_connectivity_established)

    def _pulls(self, context: Context, subnets: list[ec2.ISubnet]) -> None:
        """The endpoints that an image is pulled through, good for nothing else."""
        stack = cdk.Stack.of(self)
        group = closed_group(self, "Endpoints", self.vpc, "The endpoints for image pulls")
        for puller in (self.sandbox, self.gateway):  # their names lead the whole network here
            group.add_ingress_rule(puller, ec2.Port.tcp(443), "image pulls")
        self.sandbox.add_egress_rule(group, ec2.Port.tcp(443), "image pulls")
        zones = subnets if context.standard else subnets[:1]
        services = {
            "EcrApi": ec2.InterfaceVpcEndpointAwsService.ECR,
            "EcrDocker": ec2.InterfaceVpcEndpointAwsService.ECR_DOCKER,
        }
        for name, service in services.items():
            endpoint = self.vpc.add_interface_endpoint(
                name,
                service=service,
                subnets=ec2.SubnetSelection(subnets=zones),
                security_groups=[group],
                open=False,
            )
            endpoint.add_to_policy(_pull(stack.account))
        layers = self.vpc.add_gateway_endpoint(
            "Layers",
            service=ec2.GatewayVpcEndpointAwsService.S3,
            subnets=[ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)],
        )
        bucket = f"arn:{stack.partition}:s3:::prod-{stack.region}-starport-layer-bucket/*"
        layers.add_to_policy(
            iam.PolicyStatement(principals=[iam.AnyPrincipal()], actions=["s3:GetObject"], resources=[bucket])
        )
        s3 = ec2.Peer.prefix_list(prefix_list(self, "S3Addresses", f"com.amazonaws.{stack.region}.s3"))
        self.sandbox.add_egress_rule(s3, ec2.Port.tcp(443), "image layers")

    def _names(self, context: Context) -> None:
        """Names that resolve: AWS's own, for image pulls, the gateway's and the model's. DNS would else be a
        way out of the isolated subnets. It holds for the whole network, so the gateway's egress proxy asks
        other resolvers (`DNS_SERVERS`).
        """
        host = urlsplit(context.model_url).hostname if context.model_url else "api.anthropic.com"
        model = [f"{host}."] if context.model == "anthropic" else []
        lists = {"Allowed": ["*.amazonaws.com.", f"*.{NAMESPACE}.", *model], "Everything": ["*."]}
        allowed, everything = (
            resolver.CfnFirewallDomainList(self, name, domains=domains) for name, domains in lists.items()
        )
        rule = resolver.CfnFirewallRuleGroup.FirewallRuleProperty
        rules = resolver.CfnFirewallRuleGroup(
            self,
            "Names",
            firewall_rules=[
                rule(
                    action="ALLOW",
                    firewall_domain_redirection_action="TRUST_REDIRECTION_DOMAIN",
                    priority=100,
                    firewall_domain_list_id=allowed.attr_id,
                ),
                rule(
                    action="BLOCK",
                    block_response="NXDOMAIN",
                    priority=200,
                    firewall_domain_list_id=everything.attr_id,
                ),
            ],
        )
        resolver.CfnFirewallRuleGroupAssociation(
            self,
            "NamesOfVpc",
            firewall_rule_group_id=rules.attr_id,
            priority=101,
            vpc_id=self.vpc.vpc_id,
        )


def closed_group(scope: Construct, name: str, vpc: ec2.IVpc, description: str) -> ec2.SecurityGroup:
    """A security group that lets nothing out but what is added."""
    group = ec2.SecurityGroup(scope, name, vpc=vpc, description=description, allow_all_outbound=False)
    # EC2 opens a group to the world unless a rule is written inside it, and rules that name groups are not.
    group.add_egress_rule(ec2.Peer.ipv4("127.0.0.1/32"), ec2.Port.all_traffic(), "itself, in place of all")
    return group


def _pull(account: str) -> iam.PolicyStatement:
    return iam.PolicyStatement(
        principals=[iam.AnyPrincipal()],
        actions=[
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchGetImage",
            "ecr:GetAuthorizationToken",
            "ecr:GetDownloadUrlForLayer",
        ],
        resources=["*"],
        conditions={"StringEquals": {"aws:PrincipalAccount": account}},
    )
