{{- /* What more than one template needs. */ -}}

{{- /* The name of every object. 43 characters leave room for what Kubernetes and this chart put behind it. */ -}}
{{- define "anomaly-worker.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 43 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 43 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* By what the pods of the release are found. */ -}}
{{- define "anomaly-worker.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "anomaly-worker.labels" -}}
{{ include "anomaly-worker.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* By what workers are found, and no pods of tests. */ -}}
{{- define "anomaly-worker.workerLabels" -}}
{{ include "anomaly-worker.selectorLabels" . }}
app.kubernetes.io/component: worker
{{- end -}}

{{- define "anomaly-worker.image" -}}
{{- $suffix := ternary "-gpu" "" .Values.gpu.enabled -}}
{{- include "anomaly-worker.reference" (dict "image" .Values.image "tag" (printf "%s%s" .Chart.AppVersion $suffix)) -}}
{{- end -}}

{{- define "anomaly-worker.trainingImage" -}}
{{- $image := mergeOverwrite (deepCopy .Values.training.image) (dict "repository" (default .Values.image.repository .Values.training.image.repository)) -}}
{{- include "anomaly-worker.reference" (dict "image" $image "tag" (printf "%s-export" .Chart.AppVersion)) -}}
{{- end -}}

{{- /* An image by its digest, else by its own tag, else by `tag`. */ -}}
{{- define "anomaly-worker.reference" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (default .tag .image.tag) -}}
{{- end -}}
{{- end -}}

{{- /* Those of the worker, with memory where none is named. */ -}}
{{- define "anomaly-worker.resources" -}}
{{- $resources := deepCopy .Values.resources -}}
{{- range $of := list $resources.requests $resources.limits -}}
{{- if and $of (eq (toString $of.memory) "") -}}
{{- $_ := set $of "memory" (ternary "3Gi" "1Gi" $.Values.gpu.enabled) -}}
{{- end -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{- define "anomaly-worker.serviceAccountName" -}}
{{- default (ternary (include "anomaly-worker.name" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- /* Where the model lies in a worker's container. */ -}}
{{- define "anomaly-worker.modelPath" -}}
{{- $model := .Values.model -}}
/model/
{{- if $model.persistentVolumeClaim.claimName }}{{ $model.persistentVolumeClaim.path }}
{{- else if $model.secret.name }}{{ $model.secret.key }}
{{- else if $model.configMap.name }}{{ $model.configMap.key }}
{{- else if $model.image.reference }}{{ $model.image.path }}
{{- else }}model.onnx
{{- end -}}
{{- end -}}

{{- /* The librdkafka properties that kafkaAuth comes to. Secrets are read from files. */ -}}
{{- define "anomaly-worker.kafkaProperties" -}}
{{- $tls := .Values.kafkaAuth.tls -}}
{{- $sasl := .Values.kafkaAuth.sasl -}}
{{- /* With mskIam the worker says the protocol itself. */ -}}
{{- if and (or $tls.enabled $sasl.mechanism) (not .Values.kafkaAuth.mskIam.region) }}
security.protocol: {{ ternary (ternary "SASL_SSL" "SSL" (ne $sasl.mechanism "")) "SASL_PLAINTEXT" $tls.enabled }}
{{- end }}
{{- if $tls.caSecret.name }}
ssl.ca.location: /etc/kafka/ca/{{ $tls.caSecret.key }}
{{- end }}
{{- if $tls.clientSecret.name }}
ssl.certificate.location: /etc/kafka/client/{{ $tls.clientSecret.certKey }}
ssl.key.location: /etc/kafka/client/{{ $tls.clientSecret.keyKey }}
{{- end }}
{{- if $sasl.mechanism }}
sasl.mechanism: {{ $sasl.mechanism }}
{{- end }}
{{- if eq $sasl.mechanism "OAUTHBEARER" }}
sasl.oauthbearer.method: oidc
sasl.oauthbearer.token.endpoint.url: {{ $sasl.oauth.tokenEndpoint | quote }}
sasl.oauthbearer.client.id: ${file:/etc/kafka/sasl/{{ $sasl.oauth.clientIdKey }}}
sasl.oauthbearer.client.secret: ${file:/etc/kafka/sasl/{{ $sasl.oauth.clientSecretKey }}}
{{- with $sasl.oauth.scope }}
sasl.oauthbearer.scope: {{ . | quote }}
{{- end }}
{{- else if $sasl.mechanism }}
sasl.username: {{ default (printf "${file:/etc/kafka/sasl/%s}" $sasl.usernameKey) $sasl.username | quote }}
sasl.password: ${file:/etc/kafka/sasl/{{ $sasl.passwordKey }}}
{{- end }}
{{- end -}}

{{- /* The worker's settings file: the values under config, with the model and the way to sign in. */ -}}
{{- define "anomaly-worker.settings" -}}
{{- $model := dict "uri" (default (include "anomaly-worker.modelPath" .) .Values.model.url) -}}
{{- with .Values.model.sha256 }}{{- $_ := set $model "sha256" . }}{{- end -}}
{{- if .Values.model.publicKey }}{{- $_ := set $model "public_key" "/etc/anomaly-worker/model.pub" }}{{- end -}}
{{- $kafka := dict "properties" (include "anomaly-worker.kafkaProperties" . | fromYaml) -}}
{{- with .Values.kafkaAuth.mskIam.region }}{{- $_ := set $kafka "msk_iam_region" . }}{{- end -}}
{{- mergeOverwrite (dict "model" $model "kafka" $kafka) (deepCopy .Values.config) | toYaml -}}
{{- end -}}

{{- /* Volumes of whatever reads the settings and signs in to Kafka. */ -}}
{{- define "anomaly-worker.settingsVolumes" -}}
- name: settings
  configMap:
    name: {{ include "anomaly-worker.name" . }}
{{- with .Values.kafkaAuth.tls.caSecret.name }}
- name: kafka-ca
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
{{- end }}
{{- with .Values.kafkaAuth.tls.clientSecret.name }}
- name: kafka-client
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
{{- end }}
{{- with .Values.kafkaAuth.sasl.existingSecret }}
- name: kafka-sasl
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{- define "anomaly-worker.settingsMounts" -}}
- name: settings
  mountPath: /etc/anomaly-worker
  readOnly: true
{{- if .Values.kafkaAuth.tls.caSecret.name }}
- name: kafka-ca
  mountPath: /etc/kafka/ca
  readOnly: true
{{- end }}
{{- if .Values.kafkaAuth.tls.clientSecret.name }}
- name: kafka-client
  mountPath: /etc/kafka/client
  readOnly: true
{{- end }}
{{- if .Values.kafkaAuth.sasl.existingSecret }}
- name: kafka-sasl
  mountPath: /etc/kafka/sasl
  readOnly: true
{{- end }}
{{- end -}}

{{- /* Which of the metrics' series are this release's. */ -}}
{{- define "anomaly-worker.series" -}}
namespace="{{ .Release.Namespace }}",pod=~"{{ include "anomaly-worker.name" . }}-[0-9]+"
{{- end -}}

{{- define "anomaly-worker.alertLabels" -}}
severity: {{ .severity }}
{{- with .more }}
{{ toYaml . }}
{{- end }}
{{- end -}}
