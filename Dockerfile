# Images of anomaly-worker: `cpu` and `gpu` run workers, `export` trains as well. docs/kubernetes.md tells how to build them.
# The base must be a Debian or Ubuntu with Python 3.11 or later and certificates; the same one builds and runs.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS tools
# What compiles worker/_rows.c. A base with Debian's own Python needs python3-dev too.
ARG COMPILER="gcc libc6-dev"
RUN apt-get update && apt-get install --yes --no-install-recommends ${COMPILER}
WORKDIR /source
# The base's authorities are trusted, a company's own among them; links into a cache would not survive the layer.
ENV UV_SYSTEM_CERTS=1 UV_LINK_MODE=copy UV_NO_CACHE=1
COPY requirements/ requirements/
RUN python3 -m venv /build && /build/bin/python -m pip install --no-cache-dir --require-hashes --requirement requirements/build.txt

FROM tools AS wheel
COPY . .
RUN /build/bin/hatchling build --target wheel --directory /wheels

# Locked packages first: they change less often than the source. EXTRA is a lock to be installed beside: msk-iam.
FROM tools AS cpu-packages
ARG EXTRA=""
RUN requirements/image-environment install worker-cpu ${EXTRA}
COPY --from=wheel /wheels /wheels
RUN requirements/image-environment finish

FROM tools AS gpu-packages
ARG EXTRA=""
RUN requirements/image-environment install worker-gpu ${EXTRA}
COPY --from=wheel /wheels /wheels
RUN requirements/image-environment finish

FROM tools AS export-packages
ARG EXTRA=""
RUN requirements/image-environment install exporter ${EXTRA}
COPY --from=wheel /wheels /wheels
RUN requirements/image-environment finish

FROM ${BASE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="anomaly-worker" \
      org.opencontainers.image.description="Scores every event of Kafka topics for anomalies, exactly once." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Bytecode is there already, and the root file system is read-only.
ENV PATH="/opt/anomaly-worker/bin:${PATH}" PYTHONDONTWRITEBYTECODE=1
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
WORKDIR /tmp
# No shell stands between: SIGTERM reaches the worker itself.
ENTRYPOINT ["anomaly-worker"]
CMD ["--help"]

FROM runtime AS export
COPY --from=export-packages /opt/anomaly-worker /opt/anomaly-worker
ENTRYPOINT ["anomaly-export"]

FROM runtime AS gpu
COPY --from=gpu-packages /opt/anomaly-worker /opt/anomaly-worker

FROM runtime AS cpu
COPY --from=cpu-packages /opt/anomaly-worker /opt/anomaly-worker
