# Two stages: the first makes the environment and compiles the FHIR definitions, the second is what runs.
# The application runs from its source tree (docs/adr/0001-application-not-library.md).

FROM docker.io/library/python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
COPY requirements/runtime.txt requirements/
RUN python -m venv /opt/venv && /opt/venv/bin/pip install --require-hashes -r requirements/runtime.txt
COPY . .
RUN /opt/venv/bin/python scripts/compile_definitions.py \
 && rm -rf tests benchmarks scripts requirements docs conformance/definitions/*.gz \
 && /opt/venv/bin/python -m compileall -q /app /opt/venv

FROM docker.io/library/python:3.11-slim
LABEL org.opencontainers.image.title="fhir-server" \
      org.opencontainers.image.description="A FHIR R4 server" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin fhir \
 && install -d -o fhir -g fhir -m 0750 /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
WORKDIR /app
# Inside a container loopback is of no use, so the server listens on all its addresses. It does not start there with FHIR_AUTH=off
# unless FHIR_UNAUTHENTICATED_ADDRESS names the address too (docs/adr/0006-unauthenticated-in-containers.md).
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    FHIR_DATA_DIR=/data FHIR_HOST=0.0.0.0 FHIR_PORT=8000
USER 10001
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['FHIR_PORT'] + '/readyz', timeout=2)"]
ENTRYPOINT ["python", "-m", "fhir_server"]
CMD ["serve"]
