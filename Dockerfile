# pytest-r1eval with its engine, for Jobs of Kubernetes and other places that start containers: docs/how-to/cloud.md.
#
#   docker build --tag r1eval .                              for NVIDIA GPUs, about 12 GB
#   docker build --tag r1eval:cpu --build-arg STACK=cpu .    for a CPU, about 4 GB
#
# CUDA comes with the locked packages, and the driver from the container toolkit, so the base is Python's own image.

ARG PYTHON=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON} AS environment
ARG STACK=gpu
ARG EXTRAS=
# Debian's archive keeps no older version, so a pinned one stops building.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ make \
    && rm -rf /var/lib/apt/lists/*
ENV PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY Makefile requirements-*.lock ./
RUN make locked VENV=/opt/r1eval STACK="$STACK"
COPY . .
RUN make environment VENV=/opt/r1eval STACK="$STACK" EDITABLE= \
    && if [ -n "$EXTRAS" ]; then \
        /opt/r1eval/bin/python -m pip install -qq --constraint "requirements-$STACK.lock" "pytest-r1eval[$EXTRAS]"; \
    fi

FROM ${PYTHON}
# The compiler is for Triton and FlashInfer, which compile kernels on the machine that has the GPU; libnuma for vLLM on a CPU.
# KubeRay's probes call wget.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bubblewrap g++ libnuma1 wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 --user-group r1eval \
    && install --directory --owner r1eval --group r1eval /data
COPY --from=environment /opt/r1eval /opt/r1eval
ENV PATH=/opt/r1eval/bin:$PATH \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000:1000
WORKDIR /data
CMD ["r1eval", "doctor"]
