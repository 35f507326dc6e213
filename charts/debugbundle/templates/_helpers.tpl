{{/* The chart's objects have fixed names: one operator belongs to one Velero namespace, and the manifests of bundles
     name the role that is missing. */}}
{{- define "debugbundle.labels" -}}
app.kubernetes.io/name: debugbundle
app.kubernetes.io/part-of: debugbundle
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The release's labels, and the user's for what selects the object. */}}
{{- define "debugbundle.with" -}}
{{- $root := index . 0 -}}
{{- merge (include "debugbundle.labels" $root | fromYaml) (index . 1) | toYaml -}}
{{- end }}

{{/* A file of deploy/, which the chart holds as files/: the rules are written once, there. */}}
{{- define "debugbundle.file" -}}
{{- $text := .root.Files.Get (printf "files/%s" .path) -}}
{{- if not $text }}{{ fail (printf "files/%s is not in the chart: files must be the repository's deploy folder" .path) }}{{ end -}}
{{- $text -}}
{{- end }}

{{/* A role of deploy/rbac with the release's labels; `namespace` for namespaced ones. */}}
{{- define "debugbundle.role" -}}
{{- $role := include "debugbundle.file" (dict "root" .root "path" (printf "rbac/%s.yaml" .name)) | fromYaml -}}
{{- $_ := set $role.metadata "labels" (include "debugbundle.labels" .root | fromYaml) -}}
{{- if eq $role.kind "Role" }}{{ $_ := set $role.metadata "namespace" .root.Release.Namespace }}{{ end -}}
{{- toYaml $role -}}
{{- end }}

{{/* Refuses what must never be granted, also when the schema was skipped. */}}
{{- define "debugbundle.checkExtraRules" -}}
{{- range $rule := .Values.extraRules -}}
{{- range $key, $words := $rule -}}
{{- if not (has $key (list "apiGroups" "resources" "resourceNames" "verbs")) }}{{ fail (printf "extraRules: %q is not allowed; allowed: apiGroups, resources, resourceNames, verbs" $key) }}{{ end -}}
{{- if or (not $words) (has "" (ternary list $words (eq $key "apiGroups"))) }}{{ fail (printf "extraRules: %s is empty, or has an empty word; leave it out, or name something: an empty list of names would mean every object" $key) }}{{ end -}}
{{- end -}}
{{- range $key := list "apiGroups" "resources" "verbs" }}{{ if not (hasKey $rule $key) }}{{ fail (printf "extraRules: a rule has no %s" $key) }}{{ end }}{{ end -}}
{{- range $rule.verbs }}{{ if not (has . (list "get" "list")) }}{{ fail (printf "extraRules: verb %q is not allowed; allowed: get, list" .) }}{{ end }}{{ end -}}
{{- range $rule.apiGroups }}{{ if contains "*" . }}{{ fail "extraRules: an API group \"*\" is not allowed; name the groups" }}{{ end }}{{ end -}}
{{- range $rule.resources -}}
{{- if or (contains "*" .) (contains "/" .) (eq . "secrets") }}{{ fail (printf "extraRules: resource %q is not allowed; allowed: kinds by name, except secrets, without subresources" .) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "debugbundle.subject" -}}
- kind: ServiceAccount
  name: debugbundle-operator
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/* Pod Security `restricted`, for each pod of the chart. */}}
{{- define "debugbundle.podSecurityContext" -}}
runAsNonRoot: true
{{- if .Values.fixedIds }}
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "debugbundle.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* No default: a name in a public registry could become anybody's, and the pod reads the backup credential. */}}
{{- define "debugbundle.image" -}}
{{- if not .Values.image.repository }}{{ fail "image.repository is not set: no image is published, so build one as docs/operations.md#the-image says, push it to your registry, and set image.repository to its name there" }}{{ end -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}
