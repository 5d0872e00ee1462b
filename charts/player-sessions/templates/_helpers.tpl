{{- define "player-sessions.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* At most 50 characters, because the names of Jobs and their pods add to it. */}}
{{- define "player-sessions.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $whole := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- default $whole .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "player-sessions.selectorLabels" -}}
app.kubernetes.io/name: {{ include "player-sessions.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "player-sessions.commonLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "player-sessions.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: player-sessions
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels of everything but the schema Job and the test, which no Service and no budget may select. */}}
{{- define "player-sessions.labels" -}}
{{ include "player-sessions.commonLabels" . }}
app.kubernetes.io/component: service
{{- end }}

{{- define "player-sessions.serviceSelector" -}}
{{ include "player-sessions.selectorLabels" . }}
app.kubernetes.io/component: service
{{- end }}

{{- define "player-sessions.image" -}}
{{- $image := .Values.image }}
{{- $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default .Chart.AppVersion $image.tag }}{{ end }}
{{- end }}

{{- define "player-sessions.serviceAccountName" -}}
{{- default (.Values.serviceAccount.create | ternary (include "player-sessions.fullname" .) "default") .Values.serviceAccount.name }}
{{- end }}

{{- define "player-sessions.passwordSecret" -}}
{{- default (printf "%s-cassandra" (include "player-sessions.fullname" .)) .Values.cassandra.existingSecret }}
{{- end }}

{{- define "player-sessions.passwordKey" -}}
{{- .Values.cassandra.existingSecret | empty | ternary "password" .Values.cassandra.existingSecretKey }}
{{- end }}

{{- define "player-sessions.keysSecret" -}}
{{- default (printf "%s-keys" (include "player-sessions.fullname" .)) .Values.auth.existingSecret }}
{{- end }}

{{- define "player-sessions.superuserSecret" -}}
{{- default (printf "%s-superuser" .Values.cassandra.clusterName) .Values.schema.superuserSecret }}
{{- end }}

{{- define "player-sessions.contactPoints" -}}
{{- $cassandra := .Values.cassandra }}
{{- $service := printf "%s-%s-service.%s" $cassandra.clusterName $cassandra.datacenter (default .Release.Namespace $cassandra.namespace) }}
{{- $cassandra.contactPoints | default (list $service) | join "," }}
{{- end }}

{{/* The settings that the service and the schema Job share: a YAML map. */}}
{{- define "player-sessions.sharedSettings" -}}
{{- $tls := .Values.cassandra.tls -}}
PLAYER_SESSIONS_CASSANDRA_CONTACT_POINTS: {{ include "player-sessions.contactPoints" . | quote }}
PLAYER_SESSIONS_CASSANDRA_PORT: {{ .Values.cassandra.port | quote }}
PLAYER_SESSIONS_CASSANDRA_LOCAL_DC: {{ .Values.cassandra.datacenter | quote }}
PLAYER_SESSIONS_KEYSPACE: {{ .Values.cassandra.keyspace | quote }}
PLAYER_SESSIONS_RETENTION: {{ printf "%vd" .Values.retention.days | quote }}
PLAYER_SESSIONS_LOG_FORMAT: json
{{- if $tls.enabled }}
PLAYER_SESSIONS_CASSANDRA_TLS: "on"
PLAYER_SESSIONS_CASSANDRA_TLS_CHECK_NAME: {{ $tls.checkName | ternary "on" "off" | quote }}
{{- with $tls.serverName }}
PLAYER_SESSIONS_CASSANDRA_TLS_SERVER_NAME: {{ . | quote }}
{{- end }}
{{- if $tls.existingSecret }}
PLAYER_SESSIONS_CASSANDRA_TLS_CA_FILE: /etc/player-sessions/tls/ca.crt
{{- if $tls.clientCertificate }}
PLAYER_SESSIONS_CASSANDRA_TLS_CERT_FILE: /etc/player-sessions/tls/tls.crt
PLAYER_SESSIONS_CASSANDRA_TLS_KEY_FILE: /etc/player-sessions/tls/tls.key
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "player-sessions.tlsVolume" -}}
{{- $tls := .Values.cassandra.tls }}
{{- if and $tls.enabled $tls.existingSecret -}}
- name: tls
  secret:
    secretName: {{ $tls.existingSecret }}
    defaultMode: 0440
    items:
      - {key: {{ $tls.caKey }}, path: ca.crt}
      {{- if $tls.clientCertificate }}
      - {key: tls.crt, path: tls.crt}
      - {key: tls.key, path: tls.key}
      {{- end }}
{{- end }}
{{- end }}

{{- define "player-sessions.tlsMount" -}}
{{- if and .Values.cassandra.tls.enabled .Values.cassandra.tls.existingSecret -}}
- {name: tls, mountPath: /etc/player-sessions/tls, readOnly: true}
{{- end }}
{{- end }}

{{/* Egress rules that the service and the schema Job share. */}}
{{- define "player-sessions.egress" -}}
# DNS, wherever it is: a node-local cache has no labels
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
- ports:
    - {port: {{ .Values.cassandra.port }}, protocol: TCP}
  {{- if .Values.networkPolicy.cassandra }}
  to:
    {{- toYaml .Values.networkPolicy.cassandra | nindent 4 }}
  {{- else if not .Values.cassandra.contactPoints }}
  to:
    - podSelector:
        matchLabels:
          cassandra.datastax.com/cluster: {{ .Values.cassandra.clusterName }}
          cassandra.datastax.com/datacenter: {{ .Values.cassandra.datacenter }}
      {{- with .Values.cassandra.namespace }}
      namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ . }}
      {{- end }}
  {{- end }}
{{- end }}

{{- define "player-sessions.minReplicas" -}}
{{- .Values.autoscaling.enabled | ternary .Values.autoscaling.minReplicas .Values.replicaCount }}
{{- end }}

{{/* Annotations of what the schema Job needs. If the Job is a hook, these objects are created before it. */}}
{{- define "player-sessions.schemaHook" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: "-5"
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* All settings of the service: a YAML map. The pods' checksum is computed from it. */}}
{{- define "player-sessions.settings" -}}
{{ include "player-sessions.sharedSettings" . }}
PLAYER_SESSIONS_HTTP_HOST: {{ join "," .Values.service.listen | quote }}
PLAYER_SESSIONS_HTTP_PORT: "8080"
PLAYER_SESSIONS_OPERATIONS_PORT: {{ .Values.service.operationsPort | quote }}
PLAYER_SESSIONS_CASSANDRA_USERNAME: {{ .Values.cassandra.role | quote }}
PLAYER_SESSIONS_CASSANDRA_PASSWORD_FILE: /etc/player-sessions/cassandra/password
PLAYER_SESSIONS_AUTH: {{ .Values.auth.enabled | ternary "auto" "off" | quote }}
{{- if .Values.auth.enabled }}
PLAYER_SESSIONS_KEYS_FILE: /etc/player-sessions/keys/keys
{{- end }}
{{- with .Values.cors.origins }}
PLAYER_SESSIONS_CORS_ORIGINS: {{ join "," . | quote }}
{{- end }}
PLAYER_SESSIONS_DRAIN_DELAY: {{ printf "%vs" .Values.drain.delaySeconds }}
PLAYER_SESSIONS_DRAIN_TIMEOUT: {{ printf "%vs" .Values.drain.timeoutSeconds }}
{{- range $name, $value := .Values.config }}
{{- /* toJson, because a number would print as 1e+06 */}}
PLAYER_SESSIONS_{{ $name }}: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }}
{{- end }}
{{- with .Values.tracing.endpoint }}
OTEL_EXPORTER_OTLP_ENDPOINT: {{ . | quote }}
OTEL_SERVICE_NAME: {{ include "player-sessions.fullname" $ }}
OTEL_TRACES_SAMPLER: parentbased_traceidratio
OTEL_TRACES_SAMPLER_ARG: {{ $.Values.tracing.sampleRatio | quote }}
{{- end }}
{{- end }}
