"""The two images, by the way that the operator chose."""

import re
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_codebuild as codebuild
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3_assets as s3_assets
from aws_cdk import custom_resources as cr
from constructs import Construct

from infra.logs import month_of_logs

REPOSITORY = Path(__file__).parents[1]
DOCKERFILES = {"gateway": "gateway/Dockerfile", "sandbox": "sandbox_task/Dockerfile"}
_EXCLUDED = [
    line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line and line[0] != "#"
]
_ECR = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/([a-z0-9._/-]+):(.+)")


class Images(Construct):
    """`gateway` and `sandbox`, as container images.

    build: CodeBuild in the account, awaited by the deployment, so that nobody needs Docker. asset: the
    operator's Docker. Else the images are where a URI says, such as `example.com/opensessions:1.0`: the
    gateway's is `example.com/opensessions-gateway:1.0`. From a private ECR the tasks may then pull.
    """

    def __init__(self, scope: Construct, how: str, isolated: bool) -> None:
        super().__init__(scope, "Images")
        self._built_by: cdk.CustomResource | None = None
        if how == "build":
            self.gateway, self.sandbox = self._built()
        elif how == "asset":
            self.gateway, self.sandbox = (self._asset(name) for name in DOCKERFILES)
        else:
            self.gateway, self.sandbox = (self._found(name, _uri(how, name)) for name in DOCKERFILES)
            if isolated and not _ECR.fullmatch(_uri(how, "sandbox")):
                self._warn(how)

    def before(self, part: Construct) -> None:
        """Let the deployment have the images before this part, which runs them."""
        if self._built_by:
            part.node.add_dependency(self._built_by)

    def _warn(self, uri: str) -> None:
        told = f"images={uri}: with network=isolated, sandboxes can pull from a private ECR of their region."
        cdk.Annotations.of(self).add_warning_v2("opensessions:images", told)

    def _found(self, name: str, uri: str) -> ecs.ContainerImage:
        if not (ours := _ECR.fullmatch(uri)):
            return ecs.ContainerImage.from_registry(uri)
        account, region, repository, tag = ours.groups()
        arn = f"arn:{cdk.Aws.PARTITION}:ecr:{region}:{account}:repository/{repository}"
        found = ecr.Repository.from_repository_attributes(
            self, f"{name}_repository", repository_arn=arn, repository_name=repository
        )
        return ecs.ContainerImage.from_ecr_repository(found, tag)

    def _asset(self, file: str) -> ecs.ContainerImage:
        return ecs.ContainerImage.from_asset(
            str(REPOSITORY),
            file=DOCKERFILES[file],
            exclude=_EXCLUDED,
            ignore_mode=cdk.IgnoreMode.DOCKER,
            platform=ecr_assets.Platform.LINUX_ARM64,
        )

    def _built(self) -> tuple[ecs.ContainerImage, ecs.ContainerImage]:
        source = s3_assets.Asset(
            self, "Source", path=str(REPOSITORY), exclude=_EXCLUDED, ignore_mode=cdk.IgnoreMode.DOCKER
        )
        repository = ecr.Repository(
            self,
            "Repository",
            image_scan_on_push=True,
            encryption=ecr.RepositoryEncryption.AES_256,
            removal_policy=cdk.RemovalPolicy.DESTROY,
            empty_on_delete=True,
            lifecycle_rules=[ecr.LifecycleRule(max_image_count=20)],
        )
        tag = source.asset_hash[:16]
        self._built_by = self._awaited(self._project(repository, source, tag), tag)
        gateway, sandbox = (
            ecs.ContainerImage.from_ecr_repository(repository, f"{name}-{tag}") for name in DOCKERFILES
        )
        return gateway, sandbox

    def _project(self, repository: ecr.Repository, source: s3_assets.Asset, tag: str) -> codebuild.Project:
        uri = repository.repository_uri
        registry = cdk.Fn.select(0, cdk.Fn.split("/", uri))
        builds = [
            f"docker build -f {file} -t {uri}:{name}-{tag} . && docker push {uri}:{name}-{tag}"
            for name, file in DOCKERFILES.items()
        ]
        login = f"aws ecr get-login-password | docker login --username AWS --password-stdin {registry}"
        project = codebuild.Project(
            self,
            "Project",
            description="opensessions: builds the images of the gateway and of sandboxes",
            source=codebuild.Source.s3(bucket=source.bucket, path=source.s3_object_key),
            environment=codebuild.BuildEnvironment(
                build_image=codebuild.LinuxArmBuildImage.AMAZON_LINUX_2023_STANDARD_3_0,
                compute_type=codebuild.ComputeType.SMALL,
                privileged=True,
            ),
            grant_report_group_permissions=False,
            timeout=cdk.Duration.minutes(30),
            build_spec=codebuild.BuildSpec.from_object(
                {"version": "0.2", "phases": {"build": {"commands": [login, *builds]}}}
            ),
            logging=codebuild.LoggingOptions(
                cloud_watch=codebuild.CloudWatchLoggingOptions(log_group=month_of_logs(self, "Logs"))
            ),
        )
        repository.grant_pull_push(project)
        return project

    def _awaited(self, project: codebuild.Project, tag: str) -> cdk.CustomResource:
        """A resource that is complete when the build is, and fails with it."""

        def function(name: str, action: str) -> lambda_.Function:
            made = lambda_.Function(
                self,
                name,
                runtime=lambda_.Runtime.PYTHON_3_13,
                architecture=lambda_.Architecture.ARM_64,
                handler=f"image_build.{name}",
                code=lambda_.Code.from_asset(str(Path(__file__).parent / "on_deploy")),
                timeout=cdk.Duration.seconds(30),
                environment={"PROJECT": project.project_name},
                log_group=month_of_logs(self, f"{name}_logs"),
            )
            made.add_to_role_policy(iam.PolicyStatement(actions=[action], resources=[project.project_arn]))
            return made

        provider = cr.Provider(
            self,
            "Provider",
            on_event_handler=function("started", "codebuild:StartBuild"),
            is_complete_handler=function("completed", "codebuild:BatchGetBuilds"),
            query_interval=cdk.Duration.seconds(15),
            total_timeout=cdk.Duration.minutes(35),
        )
        return cdk.CustomResource(
            self, "Built", service_token=provider.service_token, properties={"Tag": tag}
        )


def _uri(prefix: str, name: str) -> str:
    head, colon, tag = prefix.rpartition(":")
    if not colon or "/" in tag:
        head, tag = prefix, "latest"
    return f"{head}-{name}:{tag}"
