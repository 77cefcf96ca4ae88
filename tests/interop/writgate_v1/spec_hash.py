"""docs/spec/spec-hash-v1.md: the projection and the hash at admission."""

import re
from datetime import date

from .encoding import Members, Refused, canonical, parse_members, sha256

WORKLOADS = {
    ("apps/v1", "Deployment"): "deployments",
    ("apps/v1", "ReplicaSet"): "replicasets",
    ("apps/v1", "DaemonSet"): "daemonsets",
    ("apps/v1", "StatefulSet"): "statefulsets",
    ("v1", "ReplicationController"): "replicationcontrollers",
    ("batch/v1", "Job"): "jobs",
    ("batch/v1", "CronJob"): "cronjobs",
}
HOW_MANY = {
    "replicas",
    "paused",
    "strategy",
    "updateStrategy",
    "minReadySeconds",
    "progressDeadlineSeconds",
    "revisionHistoryLimit",
}
JOB_LABELS = {
    "controller-uid",
    "job-name",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
}


def without_null_timestamps(value):
    """Rule 1, which is also the comparison of equal JSON."""
    if isinstance(value, Members):
        kept = [(name, member) for name, member in value if not (name == "creationTimestamp" and member is None)]
        return Members((name, without_null_timestamps(member)) for name, member in kept)
    if isinstance(value, list):
        return [without_null_timestamps(item) for item in value]
    return value


def get(value, name):
    """The member, or None if there is none."""
    if isinstance(value, Members):
        for key, member in value:
            if key == name:
                return member
    return None


def _has(value, name):
    return isinstance(value, Members) and any(key == name for key, _ in value)


def _replace(value, name, change):
    """The object with the member changed. A member that becomes `REMOVED` is removed."""
    if not _has(value, name):
        return value
    changed = [(key, change(member) if key == name else member) for key, member in value]
    return Members((key, member) for key, member in changed if member is not REMOVED)


REMOVED = object()


def _without(value, names_or_test):
    if not isinstance(value, Members):
        return value
    test = names_or_test if callable(names_or_test) else lambda name, _: name in names_or_test
    return Members((name, member) for name, member in value if not test(name, member))


def _emptied(value, test):
    """Rule 8: the object without the members that `test` selects, or none if no member is left."""
    kept = _without(value, test)
    if isinstance(value, Members) and value and not kept:
        return REMOVED
    return kept


def is_restart_time(text):
    if not isinstance(text, str):
        return False
    shape = r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d{1,3})?(Z|[+-](\d\d):(\d\d))"
    found = re.fullmatch(shape, text, re.ASCII)
    if not found:
        return False
    year, month, day, hour, minute, second = (int(found.group(i)) for i in range(1, 7))
    try:
        date(year or 2000, month, day)  # the year 0000 is a leap year, and `date` does not support it
    except ValueError:
        return False
    offset = found.group(9) is None or (int(found.group(9)) <= 23 and int(found.group(10)) <= 59)
    return hour <= 23 and minute <= 59 and second <= 59 and offset


def _template(template, is_label):
    def metadata(value):
        value = _replace(value, "labels", lambda labels: _emptied(labels, is_label))
        restarted = lambda name, text: name == "kubectl.kubernetes.io/restartedAt" and is_restart_time(text)
        return _replace(value, "annotations", lambda annotations: _emptied(annotations, restarted))

    return _replace(template, "metadata", metadata)


def _job(spec):
    if not isinstance(spec, Members):
        return spec
    manual = get(spec, "manualSelector")
    generated = manual is None or manual is False
    is_label = lambda name, _: generated and name in JOB_LABELS

    def removed(name, value):
        return name == "suspend" or (name == "manualSelector" and value is False) or (name == "selector" and generated)

    return _replace(_without(spec, removed), "template", lambda template: _template(template, is_label))


def project(kind, spec):
    """The spec after the projection. `kind` is None for a further kind."""
    spec = without_null_timestamps(spec)
    if kind is None:
        return spec
    if kind == "Job":
        return _job(spec)
    if kind == "CronJob":
        spec = _without(spec, {"suspend", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"})
        return _replace(spec, "jobTemplate", lambda job: _replace(job, "spec", _job))
    spec = _without(spec, HOW_MANY - ({"updateStrategy"} if kind == "StatefulSet" else set()))
    if kind == "StatefulSet":
        default = lambda name, value: name == "maxUnavailable" and getattr(value, "whole", None) == 1
        spec = _replace(spec, "updateStrategy", lambda s: _replace(s, "rollingUpdate", lambda r: _without(r, default)))
    is_label = lambda name, value: False
    if kind == "ReplicaSet":
        is_label = (
            lambda name, value: name == "pod-template-hash"
            and isinstance(value, str)
            and re.fullmatch(r"[a-z0-9]{1,10}", value) is not None
        )
        spec = _replace(
            spec, "selector", lambda s: _replace(s, "matchLabels", lambda labels: _emptied(labels, is_label))
        )
    return _replace(spec, "template", lambda template: _template(template, is_label))


def hashed_bytes(api_version, kind, spec):
    """The hashed bytes; `spec` is a value from `parse_members`."""
    known = (api_version, kind) in WORKLOADS
    projected = project(kind if known else None, spec)
    text = canonical(Members([("apiVersion", api_version), ("kind", kind), ("spec", projected)]))
    if "\ufffd" in text:
        raise Refused("U+FFFD")
    return text.encode()


def spec_hash(api_version, kind, spec):
    return "sha256:" + sha256(hashed_bytes(api_version, kind, spec))


def depth(value):
    if isinstance(value, Members):
        return 1 + max((depth(member) for _, member in value), default=0)
    if isinstance(value, list):
        return 1 + max((depth(item) for item in value), default=0)
    return 0


def parse_spec(text):
    """The text of a spec: at most 128 levels."""
    value = parse_members(text, max_depth=128)
    if depth(value) > 128:
        raise Refused("nested too deeply")
    return value
