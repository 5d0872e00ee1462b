# The service's image. `docker build .` builds the runtime, and `--target dev` the image for skaffold dev.
# To use a mirror of the base, or a base of your own: --build-arg PYTHON_IMAGE=…
ARG PYTHON_IMAGE=docker.io/library/python:3.12.14-slim-bookworm@sha256:782412e85d0f0984994c290652577d4018aff08145c85b262bb63dc0c7522254

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

# The dependencies, in a layer that changes only with the lock file.
FROM build AS dependencies
COPY requirements/service.txt .
RUN python -m venv --without-pip /app \
    && pip --python /app/bin/python install --no-compile --require-hashes --only-binary :all: -r service.txt \
    && find /app -name '*.pyx' -delete -o -name '*.pxd' -delete \
    && python -m compileall -q --invalidation-mode unchecked-hash /app/lib

# The SBOM, made from the same lock file.
FROM build AS sbom
COPY requirements/sbom.txt .
RUN pip install --require-hashes -r sbom.txt
COPY requirements/service.txt pyproject.toml ./
RUN cyclonedx-py requirements service.txt --pyproject pyproject.toml --mc-type application \
    --output-reproducible --of JSON -o sbom.cdx.json

# The service itself, with its CQL, in a thin layer.
FROM dependencies AS code
COPY requirements/build.txt .
RUN pip install --require-hashes -r build.txt
COPY pyproject.toml README.md LICENSE ./
COPY service service
RUN pip wheel -q --no-deps --no-build-isolation -w dist . \
    && pip --python /app/bin/python install --no-compile --no-deps --no-index --prefix /code dist/*.whl \
    && python -m compileall -q --invalidation-mode unchecked-hash /code/lib

FROM ${PYTHON_IMAGE} AS runtime
ENV PATH=/app/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /app
COPY --from=dependencies /app /app
COPY --from=sbom /build/sbom.cdx.json /app/
COPY --from=code /code /app
USER 65532:65532
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
ENTRYPOINT ["player-sessions"]
CMD ["serve"]
ARG VERSION=0.0.0-dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="player-sessions" \
    org.opencontainers.image.description="Game sessions on Apache Cassandra over REST" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"

# For `skaffold dev`: writable sources that shadow the installed ones. The chart's value `command` starts
# the service so that it reloads: watchfiles --filter python "player-sessions serve" /src
FROM runtime AS dev
USER 0:0
COPY requirements/reload.txt /tmp/
RUN pip --python /app/bin/python install --no-cache-dir --require-hashes -r /tmp/reload.txt && rm /tmp/reload.txt
COPY --chown=65532:65532 service /src
ENV PYTHONPATH=/src
USER 65532:65532

FROM runtime
