"""docs/spec/decision-v1.md: images, what a Pod refers to, and the dry-run contract."""

import ipaddress
import re

from .encoding import WHITE_SPACE


def _containers(pod):
    for list_ in ("containers", "initContainers", "ephemeralContainers"):
        yield from pod.get(list_) or []


def of_pod(pod):
    """The image of each container and of each image volume."""
    yield from (container.get("image") or "" for container in _containers(pod))
    yield from (volume["image"].get("reference") or "" for volume in pod.get("volumes") or [] if volume.get("image"))


def _sources(pod, env, env_from):
    for container in _containers(pod):
        for variable in container.get("env") or []:
            if source := (variable.get("valueFrom") or {}).get(env):
                yield source.get("name", "")
        for source in container.get("envFrom") or []:
            if source.get(env_from):
                yield source[env_from].get("name", "")


def _projected(pod, kind):
    for volume in pod.get("volumes") or []:
        for source in (volume.get("projected") or {}).get("sources") or []:
            if source.get(kind):
                yield source[kind].get("name", "")


def config_maps(pod):
    names = {*_sources(pod, "configMapKeyRef", "configMapRef"), *_projected(pod, "configMap")}
    return names | {v["configMap"].get("name", "") for v in pod.get("volumes") or [] if v.get("configMap")}


def secrets(pod):
    names = {*_sources(pod, "secretKeyRef", "secretRef"), *_projected(pod, "secret")}
    names |= {one.get("name", "") for one in pod.get("imagePullSecrets") or []}
    for volume in pod.get("volumes") or []:
        for kind in ("secret", "azureFile"):
            if volume.get(kind):
                names.add(volume[kind].get("secretName", ""))
        if reference := (volume.get("csi") or {}).get("nodePublishSecretRef"):
            names.add(reference.get("name", ""))
        for kind in ("cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"):
            if reference := (volume.get(kind) or {}).get("secretRef"):
                names.add(reference.get("name", ""))
    return names


def _parts(image):
    name, _, digest = image.partition("@")
    head, colon, tag = name.rpartition(":")
    if colon and "/" not in tag:
        return head, tag, digest
    return name, "", digest


GLOB = re.compile(r"[*?\[{\\]")


def _host_and_port(text):
    address, rest = re.fullmatch(r"(.*\]|)([^\]]*)", text, re.DOTALL).groups()
    name, colon, port = rest.rpartition(":")
    return (address + name, port) if colon else (text, "")


def _ip(host):
    """The one spelling of an IPv6 address in brackets, or None."""
    if not re.fullmatch(r"\[[0-9A-Fa-f:.]*\]", host):
        return None
    try:
        address = ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        return None
    return str(address.ipv4_mapped) if address.ipv4_mapped else f"[{address}]"


def _registry(text):
    """Host and port in one spelling."""
    host, port = _host_and_port(_lower(text))
    if host in ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"):
        host = "docker.io"
    host = _ip(host) or host
    if re.fullmatch(r"[0-9]*", port):
        port = port.lstrip("0")
    return host if port in ("", "80", "443") else f"{host}:{port}"


def _lower(text):
    return re.sub("[A-Z]", lambda letter: letter.group().lower(), text)


def _one_spelling(name):
    first, slash, rest = name.partition("/")
    if slash and (first == "localhost" or re.search(r"[.:A-Z]", first)):
        registry, repository = _registry(first), rest
    else:
        registry, repository = "docker.io", name
    if registry == "docker.io" and "/" not in repository:
        repository = f"library/{repository}"
    return f"{registry}/{repository}"


def pinned(image):
    """The one spelling of a pinned image, or None."""
    name, _, digest = _parts(image)
    if image[:1] in ("@", ":") or not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        return None
    return f"{_one_spelling(name)}@{digest}"


def _glob(pattern):
    out, at, depth = "", 0, 0
    while at < len(pattern):
        char = pattern[at]
        if pattern.startswith("**/", at) and (at == 0 or pattern[at - 1] == "/"):
            out, at = out + "(?:[^/]+/)*", at + 3
            continue
        if pattern[at:] == "**" and (at == 0 or pattern[at - 1] == "/"):
            out, at = out + ".*", at + 2
            continue
        if char == "\\" and at + 1 < len(pattern):
            out, at = out + re.escape(pattern[at + 1]), at + 2
            continue
        if char == "[" and "]" in pattern[at + 2 :]:
            end = pattern.index("]", at + 2)
            out, at = out + "[" + pattern[at + 1 : end].replace("!", "^", 1) + "]", end + 1
            continue
        depth += {"{": 1, "}": -1}.get(char, 0)
        special = {"*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")"}
        out += special.get(char) or ("|" if char == "," and depth else re.escape(char))
        at += 1
    return re.compile(out, re.DOTALL)


def _spellings(pattern):
    first, slash, rest = pattern.partition("/")
    if slash and _ip(_host_and_port(first)[0]):
        return [re.sub(r"([\[\]])", r"\\\1", _registry(first)) + "/" + rest]
    if GLOB.search(first):
        if not slash:
            return [first.lower(), f"docker.io/library/{pattern}"]
        host, port = _host_and_port(first)
        any_port = GLOB.search(port) and any(_glob(port).fullmatch(default) for default in ("443", "80"))
        return [f"{_registry(one)}/{rest}" for one in [first, host][: 2 if any_port else 1]] + [f"docker.io/{pattern}"]
    name, tag, digest = _parts(pattern)
    return [_one_spelling(name) + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")]


def matches(patterns, image):
    """Whether the image is a replay image."""
    name, tag, digest = _parts(image)
    name = _one_spelling(name)
    forms = [name]
    if not tag and not digest:
        tag = "latest"
    if tag:
        forms.append(f"{name}:{tag}")
    if digest:
        forms.append(f"{name}@{digest}")
    if tag and digest:
        forms.append(f"{name}:{tag}@{digest}")
    globs = [_glob(spelling) for pattern in patterns for spelling in _spellings(pattern)]
    return any(glob.fullmatch(form) for glob in globs for form in forms)


ANY = object()
JOB_LABELS = {name: ANY for name in ("controller-uid", "job-name")}
JOB_LABELS |= {f"batch.kubernetes.io/{name}": ANY for name in list(JOB_LABELS)}
RESTRICTING = {
    "runAsNonRoot": True,
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "privileged": False,
    "capabilities": {"drop": ANY},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def _only(value, permitted):
    """Whether `value` has only permitted members with permitted values. A permitted value may be a function that decides."""
    if permitted is ANY:
        return True
    if callable(permitted):
        return permitted(value)
    if isinstance(permitted, dict):
        return isinstance(value, dict) and all(n in permitted and _only(v, permitted[n]) for n, v in value.items())
    return type(value) is type(permitted) and value == permitted


def meets_dry_run(spec, contract, posture):
    """Whether a Job's spec meets the contract of a dry run."""
    accounts = lambda name: name in contract.get("serviceAccounts", [])

    def env(variables):
        found = [(one.get("name"), one.get("value", "")) for one in variables if set(one) <= {"name", "value"}]
        wanted = contract.get("env", {})
        return len(found) == len(variables) == len(wanted) and dict(found) == wanted

    def args(words):
        return any(_same_words(list_, words) for list_ in contract.get("args", []) or [[]])

    def image(name):
        return matches(posture.replay_images, name) and (not posture.images_by_digest or pinned(name) is not None)

    container = {
        "name": ANY,
        "resources": ANY,
        "imagePullPolicy": ANY,
        "image": image,
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "securityContext": RESTRICTING,
        "env": env,
        "args": args,
    }
    pod = {
        "serviceAccountName": accounts,
        "serviceAccount": accounts,
        "restartPolicy": ANY,
        "terminationGracePeriodSeconds": ANY,
        "automountServiceAccountToken": ANY,
        "enableServiceLinks": False,
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
        "securityContext": RESTRICTING,
        "containers": lambda list_: len(list_) == 1 and _only(list_[0], container),
    }
    metadata = {"creationTimestamp": None, "labels": JOB_LABELS}
    job = {
        "backoffLimit": ANY,
        "activeDeadlineSeconds": ANY,
        "ttlSecondsAfterFinished": ANY,
        "suspend": ANY,
        "completions": 1,
        "parallelism": 1,
        "completionMode": "NonIndexed",
        "podReplacementPolicy": "TerminatingOrFailed",
        "manualSelector": False,
        "selector": lambda selector: isinstance(selector, dict),
        "template": {"metadata": metadata, "spec": pod},
    }
    if not _only(spec, job):
        return False
    pod_spec = spec.get("template", {}).get("spec")
    required = {"serviceAccountName", "enableServiceLinks"}
    if pod_spec is None or not required <= set(pod_spec) or len(pod_spec.get("containers", [])) != 1:
        return False
    [only] = pod_spec["containers"]
    return "image" in only and env(only.get("env", [])) and args(only.get("args", []))


def _same_words(contract, words):
    def fits(pattern, word):
        if pattern != "*":
            return pattern == word
        return word != "" and not word.startswith("-") and "$(" not in word and not set(word) & set(WHITE_SPACE)

    return len(contract) == len(words) and all(map(fits, contract, words))
