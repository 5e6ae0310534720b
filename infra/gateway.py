"""The always-on tier: the gateway's service, and the load balancer in front of it."""

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_servicediscovery as discovery
from constructs import Construct

from infra.context import Context
from infra.images import Images
from infra.logs import month_of_logs
from infra.network import CIDR, DOOR, EGRESS, NAMESPACE, PUBLIC, SANDBOX_SIDE, Network
from infra.secrets import Secrets, secrets_below

CPU, MEMORY = 256, 512
NAME = "gateway"
RESOLVERS = "1.1.1.1,9.9.9.9"
"""Whom the egress proxy asks where the network's own resolver knows no names but AWS's."""


class Gateway(Construct):
    """Tasks in public subnets, because there is no NAT; only the load balancer, sandboxes and each other
    can open connections to them. Sandboxes find them by a private name.
    """

    def __init__(
        self,
        scope: Construct,
        context: Context,
        network: Network,
        cluster: ecs.Cluster,
        images: Images,
        secrets: Secrets,
    ) -> None:
        super().__init__(scope, "Gateway")
        self._context, self._network = context, network
        self.definition = self._task(images, secrets)
        self.service = self._service(cluster)
        network.before(self.service)
        images.before(self.service)
        self.balancer = self._balancer()
        self._allow(cluster, secrets)
        self._scale()

    def tell(self, **environment: str) -> None:
        """Add to the tasks' environment what is known only when the other parts are there."""
        for name, value in environment.items():
            self._container.add_environment(name, value)

    def allow(self, action: str, resource: str) -> None:
        statement = iam.PolicyStatement(actions=[action], resources=[resource])
        self.definition.task_role.add_to_principal_policy(statement)

    def _task(self, images: Images, secrets: Secrets) -> ecs.FargateTaskDefinition:
        definition = ecs.FargateTaskDefinition(
            self,
            "Task",
            cpu=CPU * 2 if self._context.standard else CPU,
            memory_limit_mib=MEMORY * 2 if self._context.standard else MEMORY,
            runtime_platform=ecs.RuntimePlatform(
                cpu_architecture=ecs.CpuArchitecture.ARM64,
                operating_system_family=ecs.OperatingSystemFamily.LINUX,
            ),
        )
        definition.add_volume(name="tmp")
        self._container = self._run(definition, images.gateway, self._environment(secrets))
        return definition

    def _run(
        self, definition: ecs.FargateTaskDefinition, image: ecs.ContainerImage, environment: dict[str, str]
    ) -> ecs.ContainerDefinition:
        container = definition.add_container(
            NAME,
            image=image,
            readonly_root_filesystem=True,
            user="1000:1000",
            stop_timeout=cdk.Duration.seconds(120),
            environment=environment,
            port_mappings=[ecs.PortMapping(container_port=port) for port in (PUBLIC, SANDBOX_SIDE, EGRESS)],
            logging=ecs.LogDrivers.aws_logs(stream_prefix=NAME, log_group=month_of_logs(self, "Logs")),
        )
        container.add_mount_points(
            ecs.MountPoint(container_path="/tmp", read_only=False, source_volume="tmp")
        )
        return container

    def _environment(self, secrets: Secrets) -> dict[str, str]:
        """What is known by now; `tell` adds the rest. Some variables are there only when chosen."""
        context, model_key = self._context, secrets.model_key
        always = {
            "PEERS": f"gateway.{NAMESPACE}",
            "DOOR_PORT": str(DOOR),
            "VPC_CIDR": CIDR,
            "MODEL": context.model,
            "MASTER_KEY_SECRET": secrets.master_key.secret_arn,
            "PREVIEWS": context.previews,
        }
        chosen = {
            "MODEL_SECRET": model_key.secret_arn if model_key else None,
            "MODEL_URL": context.model_url,
            "MODEL_KEYS": context.model_keys,
            "EGRESS_ALLOW": context.egress_allow,
            "MODELS": context.models,
            "ALLOW_QUERY_KEY": "1" if context.query_key else None,
            "DNS_SERVERS": RESOLVERS if context.isolated else None,
        }
        return {**always, **{name: value for name, value in chosen.items() if value is not None}}

    def _service(self, cluster: ecs.Cluster) -> ecs.FargateService:
        namespace = discovery.PrivateDnsNamespace(self, "Names", name=NAMESPACE, vpc=self._network.vpc)
        return ecs.FargateService(
            self,
            "Service",
            cluster=cluster,
            task_definition=self.definition,
            desired_count=2 if self._context.standard else 1,
            min_healthy_percent=100,
            max_healthy_percent=200,
            circuit_breaker=ecs.DeploymentCircuitBreaker(rollback=True),
            assign_public_ip=True,
            vpc_subnets=ec2.SubnetSelection(subnet_group_name="public"),
            security_groups=[self._network.gateway],
            health_check_grace_period=cdk.Duration.seconds(60),
            enable_execute_command=False,
            cloud_map_options=ecs.CloudMapOptions(
                name="gateway",
                cloud_map_namespace=namespace,
                dns_record_type=discovery.DnsRecordType.A,
                dns_ttl=cdk.Duration.seconds(10),
            ),
        )

    def _balancer(self) -> elb.ApplicationLoadBalancer:
        public = self._context.previews == "domain"
        balancer = elb.ApplicationLoadBalancer(
            self,
            "Balancer",
            vpc=self._network.vpc,
            internet_facing=public,
            security_group=self._network.balancer,
            vpc_subnets=ec2.SubnetSelection(subnet_group_name="public" if public else "private"),
            idle_timeout=cdk.Duration.seconds(300),
            drop_invalid_header_fields=True,
            desync_mitigation_mode=elb.DesyncMitigationMode.STRICTEST,
        )
        self.targets = elb.ApplicationTargetGroup(
            self,
            "Targets",
            vpc=self._network.vpc,
            port=PUBLIC,
            protocol=elb.ApplicationProtocol.HTTP,
            target_type=elb.TargetType.IP,
            targets=[self.service.load_balancer_target(container_name=NAME, container_port=PUBLIC)],
            deregistration_delay=cdk.Duration.seconds(120),
            health_check=elb.HealthCheck(
                path="/healthz",
                interval=cdk.Duration.seconds(10),
                timeout=cdk.Duration.seconds(5),
                healthy_threshold_count=2,
                unhealthy_threshold_count=3,
            ),
        )
        return balancer

    def listen(self, certificate: elb.IListenerCertificate | None) -> elb.ApplicationListener:
        """Over TLS with a certificate; else plain, for those whom the network lets in."""
        listener = self.balancer.add_listener(
            "Listener",
            port=443 if certificate else 80,
            protocol=elb.ApplicationProtocol.HTTPS if certificate else elb.ApplicationProtocol.HTTP,
            certificates=[certificate] if certificate else None,
            ssl_policy=elb.SslPolicy.RECOMMENDED_TLS if certificate else None,
            open=False,
            default_target_groups=[self.targets],
        )
        return listener

    def _allow(self, cluster: ecs.Cluster, secrets: Secrets) -> None:
        """What the tasks may do. Reading the table and calling the callback is granted where those are."""
        role = self.definition.task_role
        keys = [key.secret_arn for key in (secrets.master_key, secrets.model_key) if key]
        if prefix := self._context.model_keys:
            keys.append(secrets_below(self, prefix))
        role.add_to_principal_policy(
            iam.PolicyStatement(actions=["secretsmanager:GetSecretValue"], resources=keys)
        )
        if not secrets.model_key:
            stack = cdk.Stack.of(self)
            models = [
                f"arn:{stack.partition}:bedrock:*::foundation-model/anthropic.*",
                stack.format_arn(service="bedrock", resource="inference-profile", resource_name="*"),
            ]
            actions = ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"]
            role.add_to_principal_policy(iam.PolicyStatement(actions=actions, resources=models))
        tasks = cdk.Stack.of(self).format_arn(
            service="ecs", resource="task", resource_name=f"{cluster.cluster_name}/*"
        )
        role.add_to_principal_policy(
            iam.PolicyStatement(
                actions=["ecs:GetTaskProtection", "ecs:UpdateTaskProtection"],
                resources=[tasks],
                conditions={"ArnEquals": {"ecs:cluster": cluster.cluster_arn}},
            )
        )

    def _scale(self) -> None:
        least = 2 if self._context.standard else 1
        scaling = self.service.auto_scale_task_count(min_capacity=least, max_capacity=least * 5)
        scaling.scale_on_cpu_utilization("Cpu", target_utilization_percent=60)
