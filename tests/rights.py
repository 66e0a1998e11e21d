"""What the workers of a job may do on a broker with ACLs: exactly what docs/kafka.md says that they need."""

from collections.abc import Iterable, Mapping

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from tests.end_to_end.job import Job

USER = "worker"
RIGHTS = ("read input", "write scores", "write dead letters", "read group", "write transactional id")
_ANSWER_TIMEOUT_S = 60.0


def subject(job: Job, right: str) -> str:
    """The name of what a right is about."""
    return _bindings(job)[right].name


def grant(job: Job, rights: Iterable[str] = RIGHTS) -> None:
    """Give the job's user these rights."""
    for answer in job.topics.admin.create_acls([_bindings(job)[right] for right in rights]).values():
        answer.result(_ANSWER_TIMEOUT_S)


def withdraw(job: Job, rights: Iterable[str]) -> None:
    """Take them away."""
    wanted = [_filter(_bindings(job)[right]) for right in rights]
    for answer in job.topics.admin.delete_acls(wanted).values():
        answer.result(_ANSWER_TIMEOUT_S)


def _filter(binding: AclBinding) -> AclBindingFilter:
    what = (binding.restype, binding.name, binding.resource_pattern_type)
    return AclBindingFilter(*what, binding.principal, binding.host, binding.operation, binding.permission_type)


def _bindings(job: Job) -> Mapping[str, AclBinding]:
    read, write = AclOperation.READ, AclOperation.WRITE
    return {
        "read input": _binding(ResourceType.TOPIC, job.inputs[0], read),
        "write scores": _binding(ResourceType.TOPIC, job.scores, write),
        "write dead letters": _binding(ResourceType.TOPIC, job.dead, write),
        "write input": _binding(ResourceType.TOPIC, job.inputs[0], write),
        "read group": _binding(ResourceType.GROUP, job.group, read),
        "write transactional id": _binding(ResourceType.TRANSACTIONAL_ID, job.group, write),
    }


def _binding(kind: ResourceType, name: str, operation: AclOperation) -> AclBinding:
    """Transactional ids begin with the group's name, hence prefixed; the other names are those of one thing each."""
    pattern = ResourcePatternType.PREFIXED if kind is ResourceType.TRANSACTIONAL_ID else ResourcePatternType.LITERAL
    return AclBinding(kind, name, pattern, f"User:{USER}", "*", operation, AclPermissionType.ALLOW)
