{{- define "tabserve.name" -}}
{{- if contains "tabserve" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-tabserve{{ end -}}
{{- end }}

{{- define "tabserve.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- /* Half a core and 128 Mi for each worker, 128 Mi for the supervisor; the limit is twice the requested memory. */}}
{{- define "tabserve.resources" -}}
{{- if .Values.resources }}
{{- toYaml .Values.resources }}
{{- else }}
{{- $workers := int .Values.workers }}
requests:
  cpu: {{ mul 500 $workers }}m
  memory: {{ mul 128 (add1 $workers) }}Mi
limits:
  memory: {{ mul 256 (add1 $workers) }}Mi
{{- end }}
{{- end }}

{{- define "tabserve.selector" -}}
app.kubernetes.io/name: tabserve
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tabserve.labels" -}}
{{ include "tabserve.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "tabserve.metadata" -}}
name: {{ include "tabserve.name" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "tabserve.labels" . | nindent 2 }}
{{- end }}

{{- /* The mounted Secrets: the name of each volume, and of its Secret. */}}
{{- define "tabserve.secrets" -}}
{{- with .Values.keysSecret }}
keys: {{ . | quote }}
{{- end }}
{{- with .Values.trustedKeysSecret }}
trusted-keys: {{ . | quote }}
{{- end }}
{{- with .Values.tls.secret }}
tls: {{ . | quote }}
{{- end }}
{{- end }}

{{- /* The probe of a path. If clients need certificates, a command in the pod uses its certificate, because the kubelet has none. */}}
{{- define "tabserve.probe" -}}
{{- $values := (index . 0).Values }}
{{- if $values.tls.clientCa -}}
exec: {command: [tabserve, healthy, {{ index . 1 }}]}
{{- else if $values.tls.secret -}}
httpGet: {path: {{ index . 1 }}, port: 3000, scheme: HTTPS}
{{- else -}}
httpGet: {path: {{ index . 1 }}, port: 3000}
{{- end }}
{{- end }}
