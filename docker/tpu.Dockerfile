# The image of a Cloud TPU's hosts. In the checkout: docker build --file=docker/tpu.Dockerfile --tag=IMAGE .
FROM python:3.12-slim

# Python as a container's first process does not notice SIGTERM before a run listens to it; tini, as the first, passes it on.
RUN apt-get update && apt-get install --yes --no-install-recommends tini && rm -rf /var/lib/apt/lists/*

WORKDIR /cnnvision
# The versions that the tests have run with, and the libtpu that belongs to this JAX.
COPY requirements.txt .
RUN pip install --no-cache-dir --requirement=requirements.txt 'jax[tpu]' --constraint=requirements.txt
COPY . .
RUN pip install --no-cache-dir --no-deps --editable=.

# As root: the chips are files of /dev that belong to root, and the container is started with --privileged to have them.
ENTRYPOINT ["tini", "--", "python", "-m"]
CMD ["cnnvision", "--help"]
