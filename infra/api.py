"""The public API: REST, because only REST APIs stream; event streams and files go to the gateway, all else to
a function.
"""

import json

import aws_cdk as cdk
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_route53_targets as targets
from constructs import Construct

from infra.context import Context
from infra.edge import Edge
from infra.gateway import Gateway
from infra.logs import month_of_logs
from infra.network import Network, closed_group

STAGE = "prod"
RATE, BURST = 100, 200
"""Requests a second that the stage lets through."""
STREAM = cdk.Duration.minutes(15)
BYTES = "application/octet-stream"
"""What is sent as this reaches the gateway as it is; API Gateway takes all else for text. Answers that stream
are never touched."""
_ALLOWED = "Content-Type, X-API-Key, Authorization, Idempotency-Key, Last-Event-ID, Range, If-Range"
_ERRORS = {
    apigateway.ResponseType.DEFAULT_4_XX: ("invalid_request", "The request was refused before it was read."),
    apigateway.ResponseType.DEFAULT_5_XX: ("internal_error", "The service failed; try again."),
    apigateway.ResponseType.INTEGRATION_TIMEOUT: ("internal_error", "The service took too long; try again."),
    apigateway.ResponseType.REQUEST_TOO_LARGE: ("too_large", "The request is too large."),
    apigateway.ResponseType.RESOURCE_NOT_FOUND: ("not_found", "There is no such route."),
    apigateway.ResponseType.MISSING_AUTHENTICATION_TOKEN: ("not_found", "There is no such route."),
    apigateway.ResponseType.THROTTLED: ("rate_limited", "Too many requests at the moment; try again soon."),
}
_STATUS = {apigateway.ResponseType.MISSING_AUTHENTICATION_TOKEN: "404"}


class Api(Construct):
    """Throttled as a stage. There is no usage plan: it would read the header that holds our own keys."""

    def __init__(
        self,
        scope: Construct,
        context: Context,
        function: lambda_.IFunction,
        network: Network,
        gateway: Gateway,
        edge: Edge,
    ) -> None:
        super().__init__(scope, "Api")
        self._function, self._network, self._gateway, self._edge = function, network, gateway, edge
        self.rest = self._rest()
        host = f"{self.rest.rest_api_id}.execute-api.{cdk.Aws.REGION}.{cdk.Aws.URL_SUFFIX}"
        self.names = [name for name in (host, context.domain) if name]
        for kind, (error, message) in _ERRORS.items():
            self._answer(kind, error, message)
        self._routes()
        if context.domain:
            self._named(context)

    def _rest(self) -> apigateway.RestApi:
        log = month_of_logs(self, "Access")
        return apigateway.RestApi(
            self,
            "Rest",
            description="opensessions",
            endpoint_types=[apigateway.EndpointType.REGIONAL],
            binary_media_types=[BYTES],
            cloud_watch_role=False,
            deploy_options=apigateway.StageOptions(
                stage_name=STAGE,
                throttling_rate_limit=RATE,
                throttling_burst_limit=BURST,
                tracing_enabled=True,
                metrics_enabled=True,
                access_log_destination=apigateway.LogGroupLogDestination(log),
                access_log_format=_access_log(),
            ),
        )

    def _routes(self) -> None:
        to_function = apigateway.LambdaIntegration(self._function, allow_test_invoke=False)
        root = self.rest.root
        root.add_method("ANY", to_function)
        v1 = root.add_resource("v1")
        sessions = v1.add_resource("sessions")
        session = sessions.add_resource("{id}")
        events, files, archive = (session.add_resource(name) for name in ("events", "files", "archive"))
        file = files.add_resource("{proxy+}")
        for resource in [v1, sessions, session, events, files, archive, file]:
            resource.add_method("ANY", to_function)
        for parent in (root, v1, session, events):
            parent.add_resource("{proxy+}").add_method("ANY", to_function)
        self._stream((events, "GET"), (files, "GET"), (archive, "GET"), (file, "GET"), (file, "PUT"))

    def _stream(self, *ways: tuple[apigateway.Resource, str]) -> None:
        """What goes to the gateway and is handed through as it comes, with the whole query."""
        if self._edge.origin:
            for resource, verb in ways:
                _to_gateway(resource, verb, self._edge.origin)
            return
        link, balancer = self._link(), self._gateway.balancer
        deployment = self.rest.latest_deployment
        assert deployment
        for resource, verb in ways:
            method = _to_gateway(resource, verb, f"http://{balancer.load_balancer_dns_name}")
            method.add_property_override("Integration.ConnectionType", "VPC_LINK")
            method.add_property_override("Integration.ConnectionId", link.attr_vpc_link_id)
            method.add_property_override("Integration.IntegrationTarget", balancer.load_balancer_arn)
            deployment.node.add_dependency(method)
        # What is overridden on a method is not in the deployment's own fingerprint.
        named = [f"{verb} {resource.path}" for resource, verb in ways]
        deployment.add_to_logical_id({"link": "balancer", "stream": STREAM.to_seconds(), "ways": named})

    def _link(self) -> apigatewayv2.CfnVpcLink:
        vpc, balancer = self._network.vpc, self._network.balancer
        subnets = vpc.select_subnets(subnet_group_name="private").subnet_ids
        group = closed_group(self, "Link", vpc, "API Gateway on its way in")
        group.add_egress_rule(balancer, ec2.Port.tcp(80), "event streams, files")
        balancer.add_ingress_rule(group, ec2.Port.tcp(80), "event streams, files")
        self._unstaged()
        return apigatewayv2.CfnVpcLink(
            self,
            "VpcLink",
            name=f"{cdk.Names.unique_id(self)[-100:]}",
            subnet_ids=subnets,
            security_group_ids=[group.security_group_id],
        )

    def _unstaged(self) -> None:
        """Through a link, API Gateway leaves the stage's name in the path."""
        rewrite = {"Regex": f"^/{STAGE}/(.*)$", "Replace": "/$1"}
        rule = elb.ApplicationListenerRule(
            self,
            "Unstaged",
            listener=self._edge.listener,
            priority=1,
            conditions=[elb.ListenerCondition.path_patterns([f"/{STAGE}/v1/sessions/*"])],
            target_groups=[self._gateway.targets],
        )
        made = rule.node.default_child
        assert isinstance(made, elb.CfnListenerRule)
        transform = {"Type": "url-rewrite", "UrlRewriteConfig": {"Rewrites": [rewrite]}}
        made.add_property_override("Transforms", [transform])

    def _answer(self, kind: apigateway.ResponseType, error: str, message: str) -> None:
        """API Gateway's own refusals, in the API's shape and readable for browsers."""
        body = {"error": {"type": error, "message": message}}
        template = json.dumps(body)[:-2] + ', "request_id": "$context.requestId"}}'
        self.rest.add_gateway_response(
            kind.response_type,
            type=kind,
            status_code=_STATUS.get(kind),
            response_headers={
                "Access-Control-Allow-Origin": "'*'",
                "Access-Control-Allow-Headers": f"'{_ALLOWED}'",
                "Retry-After": "'1'",
            }
            if kind is apigateway.ResponseType.THROTTLED
            else {"Access-Control-Allow-Origin": "'*'", "Access-Control-Allow-Headers": f"'{_ALLOWED}'"},
            templates={"application/json": template},
        )

    def _named(self, context: Context) -> None:
        assert context.domain and context.hosted_zone_id
        zone = route53.HostedZone.from_hosted_zone_attributes(
            self, "Zone", hosted_zone_id=context.hosted_zone_id, zone_name=context.domain
        )
        domain = self.rest.add_domain_name(
            "Domain",
            domain_name=context.domain,
            certificate=acm.Certificate(
                self,
                "Certificate",
                domain_name=context.domain,
                validation=acm.CertificateValidation.from_dns(zone),
            ),
            security_policy=apigateway.SecurityPolicy.TLS_1_2,
            endpoint_type=apigateway.EndpointType.REGIONAL,
        )
        route53.ARecord(
            self,
            "Name",
            zone=zone,
            record_name=context.domain,
            target=route53.RecordTarget.from_alias(targets.ApiGatewayDomain(domain)),
        )


def _to_gateway(resource: apigateway.Resource, method: str, origin: str) -> apigateway.CfnMethod:
    """Make a method that the gateway answers, at the same path; it is told who asked."""
    names = [f"request.path.{name}" for name in ("id", "proxy") if f"{{{name}" in resource.path]
    options = apigateway.IntegrationOptions(
        response_transfer_mode=apigateway.ResponseTransferMode.STREAM,
        timeout=STREAM,
        request_parameters={
            **{f"integration.{name}": f"method.{name}" for name in names},
            "integration.request.header.X-Caller-IP": "context.identity.sourceIp",
        },
    )
    url = f"{origin}{resource.path.replace('+}', '}')}"
    integration = apigateway.HttpIntegration(url, proxy=True, http_method=method, options=options)
    parameters = {f"method.{name}": True for name in names}
    made = resource.add_method(method, integration, request_parameters=parameters).node.default_child
    assert isinstance(made, apigateway.CfnMethod)
    return made


def _access_log() -> apigateway.AccessLogFormat:
    """Without query strings: they may hold keys."""
    fields = {
        "request_id": "$context.requestId",
        "ip": "$context.identity.sourceIp",
        "method": "$context.httpMethod",
        "path": "$context.path",
        "status": "$context.status",
        "latency_ms": "$context.responseLatency",
    }
    return apigateway.AccessLogFormat.custom(json.dumps(fields))
