//! Values that are permitted or unusual, as lists.
//!
//! The lists of the Pod Security Standards are those of `k8s.io/pod-security-admission/policy` at the release of
//! Kubernetes v1.37, one constant per check. The other lists have no official source; each row has its reason.

/// Added capabilities that the baseline permits (`check_capabilities_baseline.go`).
pub(super) const BASELINE_CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// `SELinux` types that the baseline permits (`check_seLinuxOptions.go`).
pub(super) const SELINUX_TYPES: &[&str] = &["container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

/// Sysctls that the baseline permits (`check_sysctls.go`, v1.37).
pub(super) const SAFE_SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_notsent_lowat",
];

/// Profiles of seccomp and `AppArmor` that the baseline permits (`check_seccompProfile_baseline.go`,
/// `check_appArmorProfile.go`).
pub(super) const PROFILES: &[&str] = &["RuntimeDefault", "Localhost"];

/// The same in annotations, as starts of texts.
pub(super) const PROFILES_OF_ANNOTATIONS: &[&str] = &["runtime/default", "docker/default", "localhost/"];

/// The annotations that set profiles before the fields existed. Some runtimes and older clusters still read them.
pub(super) const PROFILE_ANNOTATIONS: &[Pattern] = &[
    ("container.apparmor.security.beta.kubernetes.io/*", "it sets the AppArmor profile of a container"),
    ("container.seccomp.security.alpha.kubernetes.io/*", "it sets the seccomp profile of a container"),
    ("seccomp.security.alpha.kubernetes.io/pod", "it sets the seccomp profile of the Pod"),
];

/// The taints and the labels of control-plane nodes.
pub(super) const CONTROL_PLANE: &[&str] =
    &["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master", "node-role.kubernetes.io/etcd"];

/// The same as patterns.
pub(super) const CONTROL_PLANE_LABELS: &[Pattern] = &[
    ("node-role.kubernetes.io/control-plane", "it selects nodes of the control plane"),
    ("node-role.kubernetes.io/master", "it selects nodes of the control plane"),
    ("node-role.kubernetes.io/etcd", "it selects nodes of etcd"),
    ("kubernetes.io/hostname", "it selects one node"),
];

/// The ends of the paths of sockets that control the node's containers.
pub(super) const RUNTIME_SOCKETS: &[&str] = &[
    "docker.sock",
    "containerd.sock",
    "crio.sock",
    "cri-dockerd.sock",
    "podman.sock",
    "buildkitd.sock",
    "kubelet.sock",
    "dockershim.sock",
    "frakti.sock",
];

/// Folders that contain nearly all programs, libraries or accounts of a container. Many workloads mount an empty volume over other
/// folders that contain a system path, such as `/run`, so those are not here.
pub(super) const SYSTEM_FOLDERS: &[&str] = &["/", "/etc", "/usr", "/usr/local"];

/// Paths that a mount replaces for every program in a container: programs, libraries, accounts, names, trust.
pub(super) const SYSTEM_PATHS: &[&str] = &[
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/local/lib",
    "/etc/ld.so.preload",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.cache",
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/profile",
    "/etc/profile.d",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/proc",
    "/sys",
    "/dev",
    "/var/run/secrets",
    "/run/secrets",
];

/// The fields that the downward API can read whose values nobody can choose after the Pod was created. The others are
/// labels and annotations.
pub(super) const FIXED_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// A name, or the start of names if it ends in `*`, with the reason why it is unusual.
pub(super) type Pattern = (&'static str, &'static str);

/// The reason of the first pattern that `name` matches.
pub(super) fn find(patterns: &'static [Pattern], name: &str) -> Option<&'static str> {
    let matches = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    patterns.iter().find(|(pattern, _)| matches(pattern)).map(|(_, reason)| *reason)
}

/// Whether a resource is of a device plugin or the like, as `IsExtendedResourceName` of `k8s.io/kubernetes` decides.
pub(super) fn is_extended_resource(name: &str) -> bool {
    name.split_once('/').is_some_and(|(domain, _)| domain != "kubernetes.io" && !domain.ends_with(".kubernetes.io"))
}

/// Environment variables that make a program load or run other code.
pub(super) const LOADING_VARIABLES: &[Pattern] = &[
    ("LD_*", "the dynamic loader obeys it in every program"),
    ("DYLD_*", "the dynamic loader obeys it in every program"),
    ("GLIBC_TUNABLES", "the C library obeys it in every program"),
    ("GCONV_PATH", "the C library loads code from there"),
    ("PATH", "it decides which programs a name runs"),
    ("PYTHONPATH", "Python loads code from there"),
    ("PYTHONHOME", "Python loads code from there"),
    ("PYTHONSTARTUP", "Python runs this file"),
    ("PYTHONUSERBASE", "Python loads code from there"),
    ("PYTHONINSPECT", "Python opens a prompt"),
    ("PYTHONWARNINGS", "Python loads modules that it names"),
    ("PYTHONBREAKPOINT", "Python calls the function that it names"),
    ("NODE_OPTIONS", "Node.js takes options from it, such as --require"),
    ("NODE_PATH", "Node.js loads code from there"),
    ("JAVA_TOOL_OPTIONS", "Java takes options from it, such as -javaagent"),
    ("_JAVA_OPTIONS", "Java takes options from it, such as -javaagent"),
    ("JDK_JAVA_OPTIONS", "Java takes options from it, such as -javaagent"),
    ("JAVA_OPTS", "the start scripts of many servers pass it to Java"),
    ("CATALINA_OPTS", "the start script of Tomcat passes it to Java"),
    ("MAVEN_OPTS", "Maven passes it to Java"),
    ("GRADLE_OPTS", "Gradle passes it to Java"),
    ("CLASSPATH", "Java loads code from there"),
    ("RUBYOPT", "Ruby takes options from it, such as -r"),
    ("RUBYLIB", "Ruby loads code from there"),
    ("BUNDLE_GEMFILE", "Bundler loads code that it names"),
    ("PERL5OPT", "Perl takes options from it, such as -M"),
    ("PERL5LIB", "Perl loads code from there"),
    ("PERLLIB", "Perl loads code from there"),
    ("PERL5DB", "Perl runs its text"),
    ("PHPRC", "PHP reads its configuration from there"),
    ("PHP_INI_SCAN_DIR", "PHP reads its configuration from there"),
    ("LUA_INIT*", "Lua runs its text"),
    ("LUA_PATH*", "Lua loads code from there"),
    ("LUA_CPATH*", "Lua loads code from there"),
    ("R_PROFILE*", "R runs this file"),
    ("DOTNET_STARTUP_HOOKS", ".NET loads the code that it names"),
    ("DOTNET_ADDITIONAL_DEPS", ".NET loads the code that it names"),
    ("CORECLR_*", ".NET loads the profiler that it names"),
    ("COR_*", ".NET loads the profiler that it names"),
    ("ERL_FLAGS", "Erlang takes options from it"),
    ("ERL_AFLAGS", "Erlang takes options from it"),
    ("ERL_ZFLAGS", "Erlang takes options from it"),
    ("BASH_ENV", "Bash runs this file before every script"),
    ("BASH_FUNC_*", "Bash defines a function from it"),
    ("ENV", "shells run this file if they are interactive"),
    ("SHELLOPTS", "Bash takes options from it"),
    ("BASHOPTS", "Bash takes options from it"),
    ("PS4", "shells run the commands in it when they trace"),
    ("PROMPT_COMMAND", "Bash runs its text"),
    ("IFS", "shells split words at other characters"),
    ("ZDOTDIR", "Zsh runs the files there"),
    ("GIT_SSH", "Git runs this program"),
    ("GIT_SSH_COMMAND", "Git runs its text"),
    ("GIT_ASKPASS", "Git runs this program"),
    ("GIT_PROXY_COMMAND", "Git runs its text"),
    ("GIT_EXTERNAL_DIFF", "Git runs its text"),
    ("GIT_EXEC_PATH", "Git runs programs from there"),
    ("GIT_TEMPLATE_DIR", "Git copies hooks from there"),
    ("GIT_CONFIG*", "Git takes settings from it, and some run programs"),
    ("SSH_ASKPASS", "SSH runs this program"),
    ("PAGER", "many programs run its text"),
    ("EDITOR", "many programs run its text"),
    ("VISUAL", "many programs run its text"),
    ("BROWSER", "many programs run its text"),
    ("LESSOPEN", "less runs its text"),
    ("OPENSSL_CONF", "OpenSSL loads the code that it names"),
    ("OPENSSL_ENGINES", "OpenSSL loads code from there"),
    ("OPENSSL_MODULES", "OpenSSL loads code from there"),
    ("PSQLRC", "psql runs this file"),
    ("PGSYSCONFDIR", "PostgreSQL's clients read settings from there"),
    ("NPM_CONFIG_*", "npm takes settings from it"),
    ("npm_config_*", "npm takes settings from it"),
];

/// Environment variables that send a program's traffic elsewhere, or make it trust others.
pub(super) const REDIRECTING_VARIABLES: &[Pattern] = &[
    ("HTTP_PROXY", "traffic goes through this proxy"),
    ("HTTPS_PROXY", "traffic goes through this proxy"),
    ("ALL_PROXY", "traffic goes through this proxy"),
    ("FTP_PROXY", "traffic goes through this proxy"),
    ("NO_PROXY", "traffic to these hosts passes no proxy"),
    ("http_proxy", "traffic goes through this proxy"),
    ("https_proxy", "traffic goes through this proxy"),
    ("all_proxy", "traffic goes through this proxy"),
    ("ftp_proxy", "traffic goes through this proxy"),
    ("no_proxy", "traffic to these hosts passes no proxy"),
    ("SSL_CERT_FILE", "TLS trusts the authorities in this file"),
    ("SSL_CERT_DIR", "TLS trusts the authorities there"),
    ("REQUESTS_CA_BUNDLE", "TLS trusts the authorities in this file"),
    ("CURL_CA_BUNDLE", "TLS trusts the authorities in this file"),
    ("NODE_EXTRA_CA_CERTS", "TLS trusts the authorities in this file"),
    ("AWS_CA_BUNDLE", "TLS trusts the authorities in this file"),
    ("GIT_SSL_*", "Git trusts other servers"),
    ("NODE_TLS_REJECT_UNAUTHORIZED", "Node.js can be made to trust every server"),
    ("PYTHONHTTPSVERIFY", "Python can be made to trust every server"),
    ("SSLKEYLOGFILE", "programs write the keys of TLS sessions there"),
    ("KUBERNETES_SERVICE_*", "clients of Kubernetes send their token there"),
    ("AWS_ENDPOINT_URL*", "clients of AWS send their requests there"),
    ("VAULT_ADDR", "clients of Vault send their token there"),
    ("OTEL_EXPORTER_*", "traces, logs and metrics go there"),
    ("PIP_*", "pip takes settings from it, such as where packages come from"),
    ("GOPROXY", "Go takes modules from there"),
    ("RES_OPTIONS", "the C library resolves names in another way"),
    ("LOCALDOMAIN", "the C library resolves names in another way"),
    ("HOSTALIASES", "the C library resolves names in another way"),
    ("RESOLV_*", "the C library resolves names in another way"),
];

/// Environment variables that give a program another identity.
pub(super) const CREDENTIAL_VARIABLES: &[Pattern] = &[
    ("AWS_ACCESS_KEY_ID", "credentials of AWS"),
    ("AWS_SECRET_ACCESS_KEY", "credentials of AWS"),
    ("AWS_SESSION_TOKEN", "credentials of AWS"),
    ("AWS_PROFILE", "credentials of AWS"),
    ("AWS_CONFIG_FILE", "credentials of AWS"),
    ("AWS_SHARED_CREDENTIALS_FILE", "credentials of AWS"),
    ("AWS_ROLE_ARN", "a role of AWS"),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", "credentials of AWS"),
    ("AWS_CONTAINER_*", "credentials of AWS"),
    ("GOOGLE_APPLICATION_CREDENTIALS", "credentials of Google Cloud"),
    ("GOOGLE_CREDENTIALS", "credentials of Google Cloud"),
    ("CLOUDSDK_*", "settings of Google Cloud, with the account"),
    ("AZURE_*", "credentials of Azure"),
    ("ARM_*", "credentials of Azure"),
    ("DIGITALOCEAN_TOKEN", "credentials of DigitalOcean"),
    ("KUBECONFIG", "the clusters and users of Kubernetes' clients"),
    ("VAULT_TOKEN", "credentials of Vault"),
    ("VAULT_ROLE_ID", "credentials of Vault"),
    ("VAULT_SECRET_ID", "credentials of Vault"),
    ("GITHUB_TOKEN", "credentials of GitHub"),
    ("GITLAB_TOKEN", "credentials of GitLab"),
    ("DOCKER_CONFIG", "credentials of registries"),
    ("DOCKER_AUTH_CONFIG", "credentials of registries"),
    ("DOCKER_HOST", "the container runtime that clients control"),
    ("CONTAINER_HOST", "the container runtime that clients control"),
    ("NETRC", "credentials of hosts"),
    ("PGPASSFILE", "credentials of PostgreSQL"),
    ("PGPASSWORD", "credentials of PostgreSQL"),
    ("MYSQL_PWD", "credentials of MySQL"),
    ("SSH_AUTH_SOCK", "an SSH agent"),
];

/// Annotations and labels of Pods with which other programs change the Pod, or what it can access.
pub(super) const INJECTORS: &[Pattern] = &[
    ("vault.hashicorp.com/*", "the agent of Vault adds containers and secrets"),
    ("vault.security.banzaicloud.io/*", "Bank-Vaults replaces commands and adds secrets"),
    ("bank-vaults.io/*", "Bank-Vaults replaces commands and adds secrets"),
    ("secrets-webhook.security.bank-vaults.io/*", "Bank-Vaults replaces commands and adds secrets"),
    ("conjur.org/*", "Conjur adds containers and secrets"),
    ("operator.1password.io/*", "1Password adds secrets"),
    ("sidecar.istio.io/*", "Istio adds containers, and takes their image and settings from here"),
    ("inject.istio.io/*", "Istio adds containers from the templates that it names"),
    ("proxy.istio.io/*", "Istio takes the proxy's settings from here"),
    ("traffic.sidecar.istio.io/*", "Istio decides which traffic passes the proxy"),
    ("ambient.istio.io/*", "Istio decides which traffic passes the proxy"),
    ("istio.io/*", "Istio adds containers of the revision that it names"),
    ("linkerd.io/*", "Linkerd adds containers"),
    ("config.linkerd.io/*", "Linkerd takes the proxy's image and settings from here"),
    ("config.alpha.linkerd.io/*", "Linkerd takes the proxy's settings from here"),
    ("consul.hashicorp.com/*", "Consul adds containers"),
    ("kuma.io/*", "Kuma adds containers"),
    ("openservicemesh.io/*", "Open Service Mesh adds containers"),
    ("dapr.io/*", "Dapr adds containers"),
    ("instrumentation.opentelemetry.io/*", "OpenTelemetry adds containers and variables that load code"),
    ("sidecar.opentelemetry.io/*", "OpenTelemetry adds containers"),
    ("sidecar.jaegertracing.io/*", "Jaeger adds containers"),
    ("admission.datadoghq.com/*", "Datadog adds variables and libraries that load code"),
    ("dynatrace.com/*", "Dynatrace adds code"),
    ("oneagent.dynatrace.com/*", "Dynatrace adds code"),
    ("elastic.co/*", "Elastic adds agents that load code"),
    ("k8s.v1.cni.cncf.io/*", "Multus attaches further networks"),
    ("v1.multus-cni.io/*", "Multus attaches another network"),
    ("cni.projectcalico.org/*", "Calico sets addresses and networks"),
    ("ovn.kubernetes.io/*", "the network plugin sets addresses and networks"),
    ("iam.amazonaws.com/*", "kube2iam or kiam gives the Pod a role of AWS"),
    ("eks.amazonaws.com/*", "EKS gives the Pod a role of AWS"),
    ("iam.gke.io/*", "GKE gives the Pod an account of Google Cloud"),
    ("azure.workload.identity/*", "Azure gives the Pod an identity"),
    ("aadpodidbinding", "Azure gives the Pod an identity"),
    ("gke-gcsfuse/*", "GKE adds a container that mounts buckets"),
    ("spiffe.io/*", "SPIRE gives the Pod an identity"),
    ("cdi.k8s.io/*", "the runtime adds devices of the node"),
    ("devices.nri.io*", "a plugin of the runtime adds devices of the node"),
    ("mounts.nri.io*", "a plugin of the runtime adds mounts of the node"),
    ("ulimits.nri.containerd.io*", "a plugin of the runtime changes limits"),
    ("io.kubernetes.cri-o.*", "CRI-O changes how the container runs"),
    ("seccomp-profile.kubernetes.cri-o.io*", "CRI-O takes the seccomp profile from here"),
    ("io.containers.*", "the runtime runs hooks on the node"),
    ("io.katacontainers.*", "Kata Containers takes the settings of the virtual machine from here"),
    ("dev.gvisor.*", "gVisor changes the sandbox"),
    ("io.microsoft.*", "the runtime changes the sandbox"),
];
