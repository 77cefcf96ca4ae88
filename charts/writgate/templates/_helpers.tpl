{{- define "writgate.labels" -}}
{{ include "writgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: writgate
{{- end }}

{{- define "writgate.selector" -}}
app.kubernetes.io/name: writgate-webhook
{{- end }}

{{- define "writgate.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/* USER=RESOURCE of each exempt controller, as --exempt-controller reads it. */}}
{{- define "writgate.exemptControllers" -}}
{{- $pairs := list }}
{{- range $controller := .Values.exemptControllers }}
{{- range $controller.resources }}{{ $pairs = append $pairs (printf "%s=%s" $controller.user .) }}{{ end }}
{{- end }}
{{- toJson $pairs }}
{{- end }}

{{/* Those of them that the API server does not send at all: a Job must be looked at, it may be a replay. */}}
{{- define "writgate.unsentControllers" -}}
{{- $pairs := list }}
{{- range include "writgate.exemptControllers" . | fromJsonArray }}
{{- if not (hasSuffix "=jobs" .) }}{{ $pairs = append $pairs . }}{{ end }}
{{- end }}
{{- toJson $pairs }}
{{- end }}

{{/* Who answers for an entry of the webhook configuration, and what it means if nobody does. */}}
{{- define "writgate.answers" -}}
admissionReviewVersions: [v1]
clientConfig:
  service:
    name: writgate-webhook
    namespace: {{ .Release.Namespace }}
    path: /validate
    port: 443
  {{- with .Values.tls.caBundle }}
  caBundle: {{ . }}
  {{- end }}
failurePolicy: Fail
matchPolicy: Equivalent
# Decisions leave Events; a server-side dry run leaves none.
sideEffects: NoneOnDryRun
timeoutSeconds: {{ .Values.webhook.timeoutSeconds }}
{{- end }}

{{- define "writgate.governedNamespaces" -}}
# No objectSelector: whoever writes an object chooses its labels.
namespaceSelector:
  matchExpressions:
    - key: writgate.dev/environment
      operator: Exists
    - key: kubernetes.io/metadata.name
      operator: NotIn
      values:
        {{- prepend .Values.webhook.exemptNamespaces .Release.Namespace | uniq | toYaml | nindent 8 }}
{{- end }}

{{/* The webhook's API user. */}}
{{- define "writgate.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:writgate-webhook
{{- end }}
