"""The task that a sandbox is: untrusted from its first instruction to its last."""

from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.images import Images
from infra.network import DOOR, EGRESS, NAMESPACE, SANDBOX_SIDE

CPU, MEMORY = 1024, 2048
NAME = "sandbox"


class Sandbox(Construct):
    """The definition alone; `functions.api` runs it. It has no task role, so no AWS credentials are to be had
    in it; its root is read-only; and it has no log driver, because what it prints is a stranger's and would
    be paid for by the byte.
    """

    def __init__(self, scope: Construct, images: Images) -> None:
        super().__init__(scope, "Sandbox")
        self.definition = ecs.FargateTaskDefinition(
            self,
            "Task",
            cpu=CPU,
            memory_limit_mib=MEMORY,
            runtime_platform=ecs.RuntimePlatform(
                cpu_architecture=ecs.CpuArchitecture.ARM64,
                operating_system_family=ecs.OperatingSystemFamily.LINUX,
            ),
        )
        self._without_task_role()
        linux = ecs.LinuxParameters(self, "Linux", init_process_enabled=True)
        linux.drop_capabilities(ecs.Capability.ALL)
        container = self.definition.add_container(
            NAME,
            image=images.sandbox,
            readonly_root_filesystem=True,
            user="1000:1000",
            environment={
                "GATEWAY_URL": f"http://gateway.{NAMESPACE}:{SANDBOX_SIDE}",
                "EGRESS_URL": f"http://gateway.{NAMESPACE}:{EGRESS}",
                "DOOR_PORT": str(DOOR),
            },
            port_mappings=[ecs.PortMapping(container_port=DOOR)],
            linux_parameters=linux,
            ulimits=[
                ecs.Ulimit(name=ecs.UlimitName.NOFILE, soft_limit=4096, hard_limit=4096),
                ecs.Ulimit(name=ecs.UlimitName.CORE, soft_limit=0, hard_limit=0),
            ],
        )
        for name, path in (("workspace", "/workspace"), ("tmp", "/tmp")):
            self.definition.add_volume(name=name)
            container.add_mount_points(
                ecs.MountPoint(container_path=path, read_only=False, source_volume=name)
            )
        self.execution_role = self.definition.obtain_execution_role()
        images.before(self.definition)

    def _without_task_role(self) -> None:
        """FargateTaskDefinition always makes one."""
        definition = self.definition.node.default_child
        assert isinstance(definition, ecs.CfnTaskDefinition)
        definition.add_property_deletion_override("TaskRoleArn")
        self.definition.node.try_remove_child("TaskRole")

    def allow_launching(self, to: iam.IGrantable, cluster: ecs.ICluster) -> None:
        """RunTask of this definition in this cluster, and nothing else that ECS can do."""
        stack = cluster.stack
        family = stack.format_arn(
            service="ecs", resource="task-definition", resource_name=f"{self.definition.family}:*"
        )
        to.grant_principal.add_to_principal_policy(
            iam.PolicyStatement(
                actions=["ecs:RunTask"],
                resources=[family],
                conditions={"ArnEquals": {"ecs:cluster": cluster.cluster_arn}},
            )
        )
        to.grant_principal.add_to_principal_policy(
            iam.PolicyStatement(
                actions=["iam:PassRole"],
                resources=[self.execution_role.role_arn],
                conditions={"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
            )
        )


def allow_stopping(to: iam.IGrantable, cluster: ecs.ICluster, *also: str) -> None:
    """Find and stop tasks of this cluster, and do `also` with them."""
    name = f"{cluster.cluster_name}/*"
    tasks = cluster.stack.format_arn(service="ecs", resource="task", resource_name=name)
    of_cluster = {"ArnEquals": {"ecs:cluster": cluster.cluster_arn}}
    for actions, resources, conditions in (
        (["ecs:ListTasks"], ["*"], of_cluster),
        (sorted(["ecs:StopTask", *also]), [tasks], of_cluster),
    ):
        to.grant_principal.add_to_principal_policy(
            iam.PolicyStatement(actions=actions, resources=resources, conditions=conditions)
        )
