#!/usr/bin/env bash
# Shows the hosts' state (READY, or PREEMPTED where they were taken away), then what the first one says, until Ctrl-C.
set -euo pipefail

gcloud compute tpus tpu-vm describe @{name} --project=@{project} --zone=@{zone} --format='value(state)'
gcloud compute tpus tpu-vm ssh @{name} --project=@{project} --zone=@{zone} --worker=0 \
  --command=@{logs}
