# Image of cryosentinel; not built during development, where no Docker was at hand.
# As it stands it holds PyTorch's build for Linux, which computes on NVIDIA GPUs and on CPUs:
#   docker build -t cryosentinel .
# Without a GPU a tenth of the size will do: give the index of builds for CPUs that PyTorch's site names:
#   docker build -t cryosentinel:cpu --build-arg TORCH_INDEX=ADDRESS .
# Results go to the folder that is mounted; GPUs need NVIDIA's container toolkit on the host:
#   docker run --rm -u "$(id -u):$(id -g)" -v "$PWD":/data cryosentinel predict --aoi ile_alatau --year 2023
#   docker run --rm --gpus all -u "$(id -u):$(id -g)" -v "$PWD":/data cryosentinel predict --aoi ile_alatau --year 2023
FROM python:3.12-slim

ARG TORCH_INDEX=""

RUN apt-get update \
 && apt-get install -y --no-install-recommends libexpat1 libgomp1 \
 && rm -rf /var/lib/apt/lists/*

RUN pip install --no-cache-dir torch torchvision ${TORCH_INDEX:+--index-url ${TORCH_INDEX}}

COPY pyproject.toml README.md LICENSE /src/
COPY cryosentinel_core /src/cryosentinel_core
COPY cryosentinel_cli /src/cryosentinel_cli
RUN pip install --no-cache-dir /src && rm -rf /src

# Weights lie beside the results, so that a container may be thrown away.
ENV HF_HOME=/data/.cache/huggingface MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /data
ENTRYPOINT ["cryosentinel"]
CMD ["--help"]
