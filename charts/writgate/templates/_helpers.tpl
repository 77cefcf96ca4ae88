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
