#!/usr/bin/env bash
# Makes a cluster with the hosts as its nodes, and starts the run on them. It costs money until delete.sh has run.
set -euo pipefail
cd "$(dirname "$0")"

