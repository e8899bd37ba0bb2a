#!/usr/bin/env bash
# Makes the hosts on Compute Engine; host.sh runs on each at every boot. They cost money until delete.sh has run.
set -euo pipefail
cd "$(dirname "$0")"

