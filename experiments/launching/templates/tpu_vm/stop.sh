#!/usr/bin/env bash
# Stops the run: each container is asked to stop (SIGTERM) and saves first. The hosts stay, and cost money. To go on: the
# last command of create.sh.
set -euo pipefail

gcloud compute tpus tpu-vm ssh @{name} --project=@{project} --zone=@{zone} --worker=all \
  --command=@{stop}
