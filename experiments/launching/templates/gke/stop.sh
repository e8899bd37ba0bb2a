#!/usr/bin/env bash
# Stops the run: each pod is asked to stop (SIGTERM) and saves first. The nodes stay, and cost money. To go on:
# kubectl apply --filename=jobset.yaml
set -euo pipefail

kubectl delete jobset @{name}
