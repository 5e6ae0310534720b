"""How the gateway is reached from outside: by its own names, through one CloudFront name, or not at all."""

import aws_cdk as cdk
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_route53_targets as targets
from constructs import Construct

from infra.addresses import prefix_list
from infra.context import Context
from infra.gateway import Gateway
from infra.network import Network


class Edge(Construct):
    """`preview_url` is the template of a port's public address. `origin` is where API Gateway finds the
    event streams by name; None where it goes by a VPC link.
    """

    def __init__(self, scope: Construct, context: Context, network: Network) -> None:
        super().__init__(scope, "Edge")
        self._context, self._network = context, network
        self.origin: str | None = None
        self.preview_url = ""
        if context.previews == "domain":
            self.preview_url = f"https://{{sandbox}}-p{{port}}.{context.preview_domain}"
            self.origin = f"https://gateway.{context.preview_domain}"

    def open(self, gateway: Gateway) -> None:
        """Put the listener on, with what leads to it."""
        if self._context.previews == "domain":
            self._by_names(gateway)
        elif self._context.previews == "trial":
            self._by_one_name(gateway)
        else:
            self.listener = gateway.listen(None)

    def _by_names(self, gateway: Gateway) -> None:
        context = self._context
        assert context.preview_domain and context.preview_zone_id
        zone = route53.HostedZone.from_hosted_zone_attributes(
            self, "Zone", hosted_zone_id=context.preview_zone_id, zone_name=context.preview_domain
        )
        certificate = acm.Certificate(
            self,
            "Certificate",
            domain_name=f"*.{context.preview_domain}",
            validation=acm.CertificateValidation.from_dns(zone),
        )
        self.listener = gateway.listen(certificate)
        self._network.balancer.add_ingress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(443), "previews, streams")
        route53.ARecord(
            self,
            "Names",
            zone=zone,
            record_name=f"*.{context.preview_domain}",
            target=route53.RecordTarget.from_alias(targets.LoadBalancerTarget(gateway.balancer)),
        )

    def _by_one_name(self, gateway: Gateway) -> None:
        self.listener = gateway.listen(None)
        self._network.balancer.add_ingress_rule(
            ec2.Peer.prefix_list(self._cloudfront_addresses()), ec2.Port.tcp(80), "CloudFront"
        )
        origin = origins.VpcOrigin.with_application_load_balancer(
            gateway.balancer,
            protocol_policy=cloudfront.OriginProtocolPolicy.HTTP_ONLY,
            read_timeout=cdk.Duration.seconds(60),
            keepalive_timeout=cdk.Duration.seconds(60),
        )
        distribution = cloudfront.Distribution(
            self,
            "Distribution",
            comment="opensessions: previews on trial",
            default_behavior=cloudfront.BehaviorOptions(
                origin=origin,
                allowed_methods=cloudfront.AllowedMethods.ALLOW_ALL,
                cache_policy=cloudfront.CachePolicy.CACHING_DISABLED,
                origin_request_policy=cloudfront.OriginRequestPolicy.ALL_VIEWER,
                viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.REDIRECT_TO_HTTPS,
                compress=False,
            ),
        )
        self._network.before(distribution)
        self.preview_url = f"https://{distribution.distribution_domain_name}/~/{{sandbox}}-p{{port}}/"

    def _cloudfront_addresses(self) -> str:
        name = "com.amazonaws.global.cloudfront.origin-facing"
        return prefix_list(self, "CloudFrontAddresses", name)
