{{- define "portcullis.selector" -}}
app.kubernetes.io/name: portcullis
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "portcullis.labels" -}}
{{ include "portcullis.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- /* Objects without a namespace carry the release's in their name: two releases do not meet. */ -}}
{{- define "portcullis.clusterName" -}}
{{ .Release.Name }}-{{ .Release.Namespace }}
{{- end }}

{{- /* What is read and written in a watched namespace. */ -}}
{{- define "portcullis.rules" -}}
- apiGroups: [apisix.apache.org]
  resources: [apisixroutes, apisixtlses, apisixupstreams]
  verbs: [get, list, watch]
- apiGroups: [apisix.apache.org]
  resources: [apisixroutes/status, apisixtlses/status, apisixupstreams/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
# Watched as metadata only; the content is fetched of those that an object refers to.
- apiGroups: [""]
  resources: [configmaps, secrets]
  verbs: [get, list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
