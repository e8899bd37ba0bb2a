#!/usr/bin/env bash
# Makes the hosts by the Cloud TPU API, and starts the run on each. They cost money until delete.sh has run. Where a host
# was booted anew, the last command starts the run again.
set -euo pipefail
cd "$(dirname "$0")"

gcloud compute tpus tpu-vm create @{name} --project=@{project} --zone=@{zone} --accelerator-type=@{type} \
  --version=v2-alpha-tpuv5-lite --service-account=@{account} @{spot}
gcloud compute tpus tpu-vm scp host.sh @{target} --project=@{project} --zone=@{zone} --worker=all
gcloud compute tpus tpu-vm ssh @{name} --project=@{project} --zone=@{zone} --worker=all \
  --command='sudo bash host.sh'
