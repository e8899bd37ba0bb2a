# The image of a host with NVIDIA GPUs. In the checkout: docker build --file=docker/gpu.Dockerfile --tag=IMAGE .
# The host has the driver (580 or newer, for CUDA 13) and NVIDIA's container toolkit: docker run --gpus=all --ipc=host IMAGE …
FROM python:3.12-slim

# Python as a container's first process does not notice SIGTERM before a run listens to it; tini, as the first, passes it on.
RUN apt-get update && apt-get install --yes --no-install-recommends tini && rm -rf /var/lib/apt/lists/*

WORKDIR /cnnvision
# The versions that the tests have run with, and CUDA's libraries for this JAX.
COPY requirements.txt .
RUN pip install --no-cache-dir --requirement=requirements.txt 'jax[cuda13]' --constraint=requirements.txt
COPY . .
RUN pip install --no-cache-dir --no-deps --editable=.

RUN useradd --create-home runner
USER runner
ENTRYPOINT ["tini", "--", "python", "-m"]
CMD ["cnnvision", "--help"]
