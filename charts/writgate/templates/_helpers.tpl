{{- define "writgate.labels" -}}
{{ include "writgate.selector" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: webhook
app.kubernetes.io/part-of: writgate
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "writgate.selector" -}}
app.kubernetes.io/name: writgate-webhook
{{- end }}

{{- define "writgate.image" -}}
{{- with .Values.global.imageRegistry | default .Values.image.registry }}{{ . }}/{{ end -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/* USER=RESOURCE of each exempt controller, in the syntax of --exempt-controller. */}}
{{- define "writgate.exemptControllers" -}}
{{- $pairs := list }}
{{- range $controller := .Values.exemptControllers }}
{{- range $controller.resources }}{{ $pairs = append $pairs (printf "%s=%s" $controller.user .) }}{{ end }}
{{- end }}
{{- toJson $pairs }}
{{- end }}

{{/* The exempt controllers whose writes the API server does not send. Jobs are always sent, because a Job may be a replay. */}}
{{- define "writgate.unsentControllers" -}}
{{- $pairs := list }}
{{- range include "writgate.exemptControllers" . | fromJsonArray }}
{{- if not (hasSuffix "=jobs" .) }}{{ $pairs = append $pairs . }}{{ end }}
{{- end }}
{{- toJson $pairs }}
{{- end }}

{{/* The API users that may change what controllers recognise their Pods by. */}}
{{- define "writgate.podControllers" -}}
{{- $users := .Values.policies.cleaners }}
{{- range .Values.exemptControllers }}
{{- if has "pods" .resources }}{{ $users = append $users .user }}{{ end }}
{{- end }}
{{- toJson ($users | uniq) }}
{{- end }}

{{/* Whether an update changes the labels, owner references or finalizers by which controllers adopt an object or count it.
request/adoption.rs in core decides. */}}
{{- define "writgate.adoptionDiffers" -}}
(
  request.resource.resource in ["controllerrevisions", "jobs", "pods", "replicasets", "replicationcontrollers"] && (
    object.?metadata.?ownerReferences != oldObject.?metadata.?ownerReferences
    || request.resource.resource == "pods"
      && oldObject.?metadata.?ownerReferences.orValue([]).exists(owner, owner.kind == "Job")
      && oldObject.?metadata.?finalizers != object.?metadata.?finalizers
    || object.?metadata.?labels != oldObject.?metadata.?labels && (
      request.resource.resource != "pods"
      || !oldObject.?metadata.?ownerReferences.orValue([]).exists(owner, owner.?controller.orValue(false)
        && owner.kind in ["DaemonSet", "ReplicaSet", "ReplicationController", "StatefulSet"])
      || [
        "apps.kubernetes.io/pod-index",
        "batch.kubernetes.io/controller-uid",
        "batch.kubernetes.io/job-completion-index",
        "batch.kubernetes.io/job-name",
        "controller-revision-hash",
        "controller-uid",
        "job-name",
        "pod-template-hash"
      ].exists(name, object.?metadata.?labels[?name] != oldObject.?metadata.?labels[?name])
    )
  )
)
{{- end }}

{{/* The part of an entry that says where the webhook is, and what happens if it does not answer. The argument is a list: the root, the
first part of the entry's name, and the path. */}}
{{- define "writgate.answers" -}}
{{- $entry := index . 1 -}}
{{- $path := index . 2 -}}
{{- with index . 0 -}}
{{- $settings := get .Values.webhook.entries $entry | default dict -}}
admissionReviewVersions: [v1]
clientConfig:
  {{- if .Values.staticManifests.render }}
  url: {{ trimSuffix "/" .Values.staticManifests.url }}{{ $path }}
  {{- with .Values.staticManifests.caBundle }}
  caBundle: {{ . }}
  {{- end }}
  {{- else }}
  service:
    name: writgate-webhook
    namespace: {{ .Release.Namespace }}
    path: {{ $path }}
    port: 443
  {{- if eq .Values.certificates.mode "brought" }}
  {{- with .Values.certificates.caBundle }}
  caBundle: {{ . }}
  {{- end }}
  {{- end }}
  {{- end }}
{{- if eq $entry "unlabelled-namespaces" }}
failurePolicy: Ignore
{{- else }}
failurePolicy: {{ $settings.failurePolicy | default "Fail" }}
{{- end }}
matchPolicy: Equivalent
# A decision creates an Event, except in a server-side dry run.
sideEffects: NoneOnDryRun
timeoutSeconds: {{ $settings.timeoutSeconds | default .Values.webhook.timeoutSeconds }}
{{- end }}
{{- end }}

{{- define "writgate.governedNamespaces" -}}
# There is no objectSelector, because the author of an object chooses its labels.
namespaceSelector:
  matchExpressions:
    - key: writgate.dev/environment
      operator: Exists
    - key: kubernetes.io/metadata.name
      operator: NotIn
      values:
        {{- prepend .Values.webhook.exemptNamespaces .Release.Namespace | uniq | toYaml | nindent 8 }}
    {{- with .Values.webhook.extraNamespaceSelector }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* The digest of each entry of the webhook configuration, in the syntax of --webhook-entry. The webhook computes the same of the live
entries (webhook_configuration.rs in writgate-cluster). */}}
{{- define "writgate.entryDigests" -}}
{{- $digests := list }}
{{- range (include (print .Template.BasePath "/webhook.yaml") . | fromYaml).webhooks }}
{{- $entry := set . "clientConfig" (omit .clientConfig "caBundle") }}
{{- $digests = append $digests (printf "%s=sha256:%s" .name ($entry | toJson | sha256sum)) }}
{{- end }}
{{- toJson $digests }}
{{- end }}

{{/* The webhook's API user. */}}
{{- define "writgate.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:writgate-webhook
{{- end }}

{{/* The volume source of the client CA; empty if there is none. */}}
{{- define "writgate.clientCA" -}}
{{- with .Values.clientCA }}
{{- if and .configMapName .secretName }}
{{- fail "clientCA.configMapName and clientCA.secretName are both set: set one of them" }}
{{- end }}
{{- if and .names (not .configMapName) (not .secretName) }}
{{- fail "clientCA.names requires clientCA.configMapName or clientCA.secretName: without a CA, no certificate is asked for" }}
{{- end }}
{{- if .configMapName }}
configMap:
  name: {{ .configMapName }}
{{- else if .secretName }}
secret:
  secretName: {{ .secretName }}
  defaultMode: 0440
{{- end }}
{{- if or .configMapName .secretName }}
  items:
    - {key: ca.crt, path: ca.crt}
{{- end }}
{{- end }}
{{- end }}

{{/* The name of an object of admission. In files of API servers it must end in .static.k8s.io. */}}
{{- define "writgate.admissionName" -}}
{{- index . 1 }}{{ if (index . 0).Values.staticManifests.render }}.static.k8s.io{{ end }}
{{- end }}

{{/* Not empty if the objects of admission are rendered: in the release, or for files of API servers. */}}
{{- define "writgate.admissionIsRendered" -}}
{{- with .Values.staticManifests }}
{{- if and .enabled (eq $.Values.certificates.mode "self") }}
{{- fail "staticManifests.enabled requires certificates.mode cert-manager or brought: the webhook cannot write its CA into files of API servers" }}
{{- end }}
{{- if and .render (not .url) }}
{{- fail "staticManifests.render requires staticManifests.url: a file cannot refer to the Service" }}
{{- end }}
{{- if or .render (not .enabled) }}yes{{ end }}
{{- end }}
{{- end }}

{{/* Refuses values of certificates that have no effect in the mode. */}}
{{- define "writgate.checkCertificates" -}}
{{- with .Values.certificates }}
{{- if ne .mode "brought" }}
{{- if .caBundle }}
{{- fail (printf "certificates.caBundle is set, and certificates.mode is %s: the CA is then not yours to set; leave it empty, or set the mode to brought" .mode) }}
{{- end }}
{{- if .secretName }}
{{- fail (printf "certificates.secretName is set, and certificates.mode is %s: the Secret has a fixed name then; leave it empty, or set the mode to brought" .mode) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The Secret with the certificate, if the webhook does not make it. */}}
{{- define "writgate.certificateSecret" -}}
{{- .Values.certificates.secretName | default "writgate-webhook-tls" }}
{{- end }}

{{/* Not empty if the webhook deletes old requests. Without the policy that confines it, it has no right to. */}}
{{- define "writgate.sweepsRequests" -}}
{{- if and .Values.requests.enabled .Values.policies.enabled }}yes{{ end }}
{{- end }}

{{/* Rules of every role for people: the Events of decisions, and the labels of the namespace in which the role is bound. */}}
{{- define "writgate.readerRules" -}}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
# `pending` reads the denials that Flux and Argo CD report.
- apiGroups: [kustomize.toolkit.fluxcd.io]
  resources: [kustomizations]
  verbs: [get, list]
- apiGroups: [helm.toolkit.fluxcd.io]
  resources: [helmreleases]
  verbs: [get, list]
- apiGroups: [argoproj.io]
  resources: [applications]
  verbs: [get, list]
{{- end }}

{{/* The expression of a rule about something that happens at intervals, with a threshold of six intervals or of the default, whichever
is longer. The argument is a list: the rule, its default threshold in seconds, and the interval. */}}
{{- define "writgate.staleAfterSixIntervals" -}}
{{- $rule := index . 0 }}
{{- $default := printf "> %d" (index . 1) }}
{{- if not (hasSuffix $default $rule.expr) }}
{{- fail (printf "monitoring/alerts.yaml: the expression of %s does not end in %q, which the chart replaces" $rule.alert $default) }}
{{- end }}
{{- $interval := index . 2 }}
{{- $unit := get (dict "s" 1 "m" 60 "h" 3600) (substr (len $interval | add -1 | int) (len $interval) $interval) }}
{{- $seconds := mul 6 $unit (regexFind "^[0-9]+" $interval | int) }}
{{- trimSuffix $default $rule.expr }}> {{ max (index . 1) $seconds }}
{{- end }}

{{/* The configuration of notifications, as the webhook reads it. */}}
{{- define "writgate.notifications" -}}
{{- with .Values.notifications -}}
{{- $receivers := list }}
{{- range .receivers }}
{{- $folder := printf "/etc/writgate/receivers/%s" .name }}
{{- $receiver := omit . "urlSecret" "tokenSecret" "caConfigMap" }}
{{- if .urlSecret }}{{ $receiver = set $receiver "urlFile" (printf "%s/url" $folder) }}{{ end }}
{{- if .tokenSecret }}{{ $receiver = set $receiver "tokenFile" (printf "%s/token" $folder) }}{{ end }}
{{- if .caConfigMap }}{{ $receiver = set $receiver "caFile" (printf "%s/ca.crt" $folder) }}{{ end }}
{{- $receivers = append $receivers $receiver }}
{{- end }}
{{- dict "source" .source "expiresWithin" .expiresWithin "receivers" $receivers | toYaml }}
{{- end }}
{{- end }}
