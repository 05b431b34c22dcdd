# Written without a Docker at hand: not built yet.
# docker build -t wsi-idc .    (with the viewer and the server: --build-arg EXTRAS="[view]")    then: docker run --rm -v "$PWD:/data" wsi-idc segment slide.svs -o results
FROM python:3.11-slim AS build
ARG EXTRAS=""
COPY . /source
RUN python -m venv /opt/wsi-idc \
 && /opt/wsi-idc/bin/pip install --no-cache-dir -c /source/constraints.txt "/source$EXTRAS"

FROM python:3.11-slim
COPY --from=build /opt/wsi-idc /opt/wsi-idc
RUN useradd --create-home user && mkdir /data && chown user /data
ENV PATH=/opt/wsi-idc/bin:$PATH
USER user
WORKDIR /data
# The demo runs all of it, offline, on a section that it paints.
HEALTHCHECK --interval=24h --timeout=3m CMD wsi-idc demo -o "$(mktemp -d)/demo"
ENTRYPOINT ["wsi-idc"]
CMD ["--help"]
