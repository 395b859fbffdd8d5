# The service on a CPU, as a user without rights:
#   docker build -t segmenter . && docker run --rm -p 127.0.0.1:8000:8000 segmenter
FROM python:3.13-slim AS build
RUN python -m venv /opt/segmenter
ENV PATH=/opt/segmenter/bin:$PATH
# From PyTorch's own index: the wheel on PyPI brings several GB of CUDA with it.
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu 'torch>=2.14'
WORKDIR /source
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src ./src
# pyproject.toml has the versions of the libraries.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir '.[serve,fast]'

FROM python:3.13-slim
RUN useradd --uid 10001 --create-home segmenter
COPY --from=build /opt/segmenter /opt/segmenter
ENV PATH=/opt/segmenter/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /home/segmenter
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["segmenter"]
CMD ["serve", "street", "--host", "0.0.0.0"]
