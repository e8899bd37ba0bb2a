#!/usr/bin/env bash
# Deletes the hosts. The run folder stays in its bucket.
set -uo pipefail

gcloud compute tpus tpu-vm delete @{name} --project=@{project} --zone=@{zone} --quiet

echo "What is left, and costs money (no host should be listed):"
gcloud compute tpus tpu-vm list --project=@{project} --zone=@{zone} --filter=@{left}
