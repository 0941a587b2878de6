{{- define "tabserve.name" -}}
{{- if contains "tabserve" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-tabserve{{ end -}}
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
