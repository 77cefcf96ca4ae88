{{/* Refuses values that have the right type and make no sense: what was found, why, and what to set instead. The types, and values that
need no explanation, are in values.schema.json, which Helm checks first. */}}
{{- define "writgate.checkValues" -}}
{{- include "writgate.checkCertificates" . }}
{{- with .Values }}

{{- if not (kindIs "invalid" .replicas) }}
{{- if lt (int .replicas) 1 }}
{{- fail (printf "replicas is %v: no Pod would answer API servers, which would deny every change in governed namespaces; set it to 1 or more, or to null if something else scales the Deployment" .replicas) }}
{{- end }}
{{- if and .resourceQuota.enabled (hasPrefix "system-" .priorityClassName) (le (int .resourceQuota.pods) (int .replicas)) }}
{{- fail (printf "resourceQuota.pods is %v and replicas is %v: a rolling update starts one Pod more, which the quota would refuse; set resourceQuota.pods above replicas" .resourceQuota.pods .replicas) }}
{{- end }}
{{- if and .podDisruptionBudget.enabled (not (kindIs "string" .podDisruptionBudget.maxUnavailable)) (gt (int .replicas) 1) (ge (int .podDisruptionBudget.maxUnavailable) (int .replicas)) }}
{{- fail (printf "podDisruptionBudget.maxUnavailable is %v and replicas is %v: all Pods could be evicted at once; set it below replicas" .podDisruptionBudget.maxUnavailable .replicas) }}
{{- end }}
{{- end }}

{{- if eq (int .ports.https) (int .ports.admin) }}
{{- fail (printf "ports.https and ports.admin are both %v: the webhook cannot listen twice at one port; set two different ports" .ports.https) }}
{{- end }}
{{- if and (gt (len .service.ipFamilies) 1) (has .service.ipFamilyPolicy (list "" "SingleStack")) }}
{{- fail (printf "service.ipFamilies has two families and service.ipFamilyPolicy is %q: API servers refuse such a Service; set PreferDualStack or RequireDualStack" .service.ipFamilyPolicy) }}
{{- end }}

{{- include "writgate.checkTimeout" (list "webhook.timeoutSeconds" .webhook.timeoutSeconds) }}
{{- range $entry, $settings := .webhook.entries }}
{{- if hasKey $settings "timeoutSeconds" }}
{{- include "writgate.checkTimeout" (list (printf "webhook.entries.%s.timeoutSeconds" $entry) $settings.timeoutSeconds) }}
{{- end }}
{{- if and (eq ($settings.failurePolicy | default "Fail") "Ignore") (not (has $entry (list "connect" "wake-ups"))) }}
{{- fail (printf "webhook.entries.%s.failurePolicy is Ignore: while the webhook is down, API servers would admit these requests without a check; only connect and wake-ups may be Ignore" $entry) }}
{{- end }}
{{- end }}
{{- if and (hasKey .webhook.entries "connect") (not .webhook.connect) }}
{{- fail "webhook.entries.connect is set, and webhook.connect is false: there is no such entry then; remove one of the two" }}
{{- end }}
{{- if and (index .webhook.entries "wake-ups") (not .webhook.wakeUps) }}
{{- fail "webhook.entries.wake-ups is set, and webhook.wakeUps is false: there is no such entry then; remove one of the two" }}
{{- end }}
{{- range .webhook.extraNamespaceSelector }}
{{- $needs := has .operator (list "In" "NotIn") }}
{{- if ne $needs (not (empty .values)) }}
{{- fail (printf "webhook.extraNamespaceSelector: the operator %s of key %s must have %s; API servers refuse it otherwise" .operator .key (ternary "values" "no values" $needs)) }}
{{- end }}
{{- end }}

{{- if and .reaudit.openReports (not .reaudit.enabled) }}
{{- fail "reaudit.openReports is true, and reaudit.enabled is false: nothing would be reported; set both or neither" }}
{{- end }}

{{- if and .requests.enabled (not .detachedApprovals) }}
{{- fail "detachedApprovals is false, and requests.enabled is true: the approval of a posted request is a detached approval, which would not count; set requests.enabled to false as well, or detachedApprovals to true" }}
{{- end }}

{{- $names := list }}
{{- range .notifications.receivers }}
{{- if has .name $names }}
{{- fail (printf "notifications.receivers has %s twice: the webhook would refuse the configuration and notify nobody; rename one" .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- end }}

{{- range $labels, $reserved := dict "canary.namespaceLabels" "^(app\\.kubernetes\\.io|helm\\.sh|writgate\\.dev)/|^pod-security\\.kubernetes\\.io/enforce$" "commonLabels" "^(app\\.kubernetes\\.io|helm\\.sh|writgate\\.dev)/" "podLabels" "^(app\\.kubernetes\\.io|helm\\.sh|writgate\\.dev)/" }}
{{- range $label, $_ := (eq $labels "canary.namespaceLabels" | ternary $.Values.canary.namespaceLabels (get $.Values $labels)) }}
{{- if regexMatch $reserved $label }}
{{- fail (printf "%s has %s, which the chart sets itself: selectors and the webhook recognise objects by it; remove it" $labels $label) }}
{{- end }}
{{- end }}
{{- end }}

{{- $values := dict "--listen" "ports.https" "--admin-listen" "ports.admin" "--certificate-secret" "certificates.mode" "--tls-cert-file" "certificates.mode" "--tls-private-key-file" "certificates.mode" "--client-ca-file" "clientCA" "--client-name" "clientCA.names" "--audit-key-file" "auditKey.secretName" "--system-namespace" "the release's namespace" "--drain" "drain" "--workers" "workers" "--clock-leeway" "clockLeeway" "--detached-approvals" "detachedApprovals" "--exempt-controller" "exemptControllers" "--no-exempt-controllers" "exemptControllers" "--workload-kind" "governedKinds" "--canary-interval" "canary.interval" "--reaudit-interval" "reaudit.interval" "--open-reports" "reaudit.openReports" "--posted-requests" "requests.enabled" "--request-sweep-interval" "requests.enabled" "--notifications" "notifications" "--webhook-entry" "webhook" "--log" "log" }}
{{- range .extraArgs }}
{{- $flag := regexFind "^--[^=]*" . }}
{{- with get $values $flag }}
{{- fail (printf "extraArgs has %s, which the chart sets itself: the webhook's rights and its configuration depend on the value; set %s" $flag .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The argument is a list: the name of a value, and a timeout. */}}
{{- define "writgate.checkTimeout" -}}
{{- $timeout := int (index . 1) }}
{{- if or (lt $timeout 1) (gt $timeout 30) }}
{{- fail (printf "%s is %d: API servers accept 1 to 30 seconds" (index . 0) $timeout) }}
{{- end }}
{{- end }}
