{{/* Entries of the webhook configuration for the objects that governance depends on. Each entry matches only its own objects. */}}
{{- define "writgate.guards" -}}
# Postures, reviewers, revocations and pipelines. Other objects in this namespace are not sent to the webhook.
- name: documents.writgate.dev
  {{- include "writgate.answers" (list . "documents" "/guard") | nindent 2 }}
  namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ .Release.Namespace }}
  # An objectSelector matches the old or the new object, so the removal of the label is sent too.
  objectSelector:
    matchExpressions:
      - key: writgate.dev/kind
        operator: In
        values: [pipelines, posture, reviewers, revocations]
  rules:
    - apiGroups: [""]
      apiVersions: [v1]
      resources: [configmaps]
      operations: [CREATE, UPDATE, DELETE]
      scope: Namespaced
  matchConditions:
    # The namespace can be deleted while the webhook is down. The guard denies owner references on documents, so nobody
    # can make the garbage collector delete one.
    - name: not-a-cleaners-deletion
      expression: |-
        request.operation != "DELETE" || !(request.userInfo.?username.orValue("") in [
          "system:serviceaccount:kube-system:namespace-controller",
          "system:serviceaccount:kube-system:generic-garbage-collector"
        ])
    - name: not-an-update-without-change
      expression: |-
        request.operation != "UPDATE"
        || object.?data != oldObject.?data
        || object.?binaryData != oldObject.?binaryData
        || object.?metadata.?labels[?"writgate.dev/kind"] != oldObject.?metadata.?labels[?"writgate.dev/kind"]
        || object.?metadata.?ownerReferences != oldObject.?metadata.?ownerReferences
        || object.?immutable != oldObject.?immutable
# Config bundles in governed namespaces.
- name: bundles.writgate.dev
  {{- include "writgate.answers" (list . "bundles" "/guard") | nindent 2 }}
  {{- include "writgate.governedNamespaces" . | nindent 2 }}
  objectSelector:
    matchLabels:
      writgate.dev/kind: config-bundle
  rules:
    - apiGroups: [""]
      apiVersions: [v1]
      resources: [configmaps]
      operations: [CREATE, UPDATE]
      scope: Namespaced
  matchConditions:
    - name: not-an-update-without-change
      expression: |-
        request.operation != "UPDATE"
        || object.?immutable != oldObject.?immutable
        || object.?data != oldObject.?data
        || object.?binaryData != oldObject.?binaryData
        || object.?metadata.?labels != oldObject.?metadata.?labels
# Posted requests and rejections in governed namespaces. Their deletion is not sent: whoever RBAC permits may delete them.
- name: requests.writgate.dev
  {{- include "writgate.answers" (list . "requests" "/guard") | nindent 2 }}
  {{- include "writgate.governedNamespaces" . | nindent 2 }}
  objectSelector:
    matchExpressions:
      - key: writgate.dev/kind
        operator: In
        values: [rejection, request]
  rules:
    - apiGroups: [""]
      apiVersions: [v1]
      resources: [configmaps]
      operations: [CREATE, UPDATE]
      scope: Namespaced
  matchConditions:
    - name: not-an-update-without-change
      expression: |-
        request.operation != "UPDATE"
        || object.?immutable != oldObject.?immutable
        || object.?data != oldObject.?data
        || object.?binaryData != oldObject.?binaryData
        || object.?metadata.?labels[?"writgate.dev/kind"] != oldObject.?metadata.?labels[?"writgate.dev/kind"]
# The labels that govern a namespace. There is no namespaceSelector, because it would match only the new labels and miss
# the removal of a label. DELETE is never sent, so a namespace can be deleted while the webhook is down.
- name: namespaces.writgate.dev
  {{- include "writgate.answers" (list . "namespaces" "/guard") | nindent 2 }}
  rules:
    - apiGroups: [""]
      apiVersions: [v1]
      resources: [namespaces, namespaces/finalize, namespaces/status]
      operations: [CREATE, UPDATE]
      scope: Cluster
  matchConditions:
    - name: what-governs-differs
      expression: |-
        ["writgate.dev/environment", "writgate.dev/project"].exists(label,
          request.operation == "CREATE"
          ? object.?metadata.?labels[?label].hasValue()
          : object.?metadata.?labels[?label] != oldObject.?metadata.?labels[?label]
        )
# Namespaces that are created without these labels: a posture may list the name. While the webhook is down, such a namespace is
# created without a check, because the cluster could not be repaired otherwise.
- name: unlabelled-namespaces.writgate.dev
  {{- include "writgate.answers" (list . "unlabelled-namespaces" "/guard") | nindent 2 }}
  rules:
    - apiGroups: [""]
      apiVersions: [v1]
      resources: [namespaces]
      operations: [CREATE]
      scope: Cluster
  matchConditions:
    - name: no-label-governs
      expression: |-
        !["writgate.dev/environment", "writgate.dev/project"].exists(label, object.?metadata.?labels[?label].hasValue())
# Metadata that the API server accepts through a status subresource. A controller's usual status update is not sent.
- name: metadata.writgate.dev
  {{- include "writgate.answers" (list . "metadata" "/guard") | nindent 2 }}
  {{- include "writgate.governedNamespaces" . | nindent 2 }}
  rules:
    - apiGroups: [apps]
      apiVersions: [v1]
      resources: [daemonsets/status, deployments/status, replicasets/status, statefulsets/status]
      operations: [UPDATE]
      scope: Namespaced
    - apiGroups: [batch]
      apiVersions: [v1]
      resources: [cronjobs/status, jobs/status]
      operations: [UPDATE]
      scope: Namespaced
    - apiGroups: [""]
      apiVersions: [v1]
      resources: [pods/status, replicationcontrollers/status]
      operations: [UPDATE]
      scope: Namespaced
  matchConditions:
    - name: metadata-that-matters-differs
      expression: |-
        [object, oldObject].exists(either,
          either.?metadata.?labels.orValue({}).exists(key, key.startsWith("writgate.dev/")
            && object.?metadata.?labels[?key] != oldObject.?metadata.?labels[?key])
          || either.?metadata.?annotations.orValue({}).exists(key, key.startsWith("writgate.dev/")
            && object.?metadata.?annotations[?key] != oldObject.?metadata.?annotations[?key])
        )
        || {{ include "writgate.adoptionDiffers" . | nindent 8 | trim }}
{{- end }}
