#!/usr/bin/env bash
# Shows the hosts, and what their containers said in the last hour. What a host said before its container started:
# gcloud compute instances get-serial-port-output HOST --project=@{project} --zone=@{zone}
set -euo pipefail

gcloud compute instance-groups managed list-instances @{name} --project=@{project} --zone=@{zone}
gcloud logging read @{filter} \
  --project=@{project} --freshness=1h --limit=200 \
  --format='value(timestamp,jsonPayload.instance.name,jsonPayload.message)' | tac
