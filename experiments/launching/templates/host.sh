#!/usr/bin/env bash
# Runs on each host as root: starts the container, and the run in it goes on from its last checkpoint.
set -euo pipefail
export HOME=/root

# Google's images of TPU hosts for Compute Engine come without Docker.
if ! command -v docker >/dev/null; then
  apt-get -o DPkg::Lock::Timeout=600 update
  apt-get -o DPkg::Lock::Timeout=600 install --yes docker.io
fi

