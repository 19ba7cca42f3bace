# The server in a container: CPU only, as a user without rights, configuration and data in /serve.
# Build from a checkout: docker build --tag stepladder .
FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv /opt/stepladder
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY src ./src
RUN /opt/stepladder/bin/pip install --no-cache-dir --constraint constraints.txt \
    '.[local,serve,postgres,telemetry,text-metrics,gemini,openai]'

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 stepladder && install -d -o stepladder /serve
COPY --from=build /opt/stepladder /opt/stepladder
ENV PATH=/opt/stepladder/bin:$PATH PYTHONUNBUFFERED=1 XDG_CACHE_HOME=/serve/cache \
    XDG_DATA_HOME=/serve/data
USER stepladder
WORKDIR /serve
VOLUME /serve
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s CMD \
    ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["stepladder", "serve"]
CMD ["--config", "/serve/serve.toml"]
