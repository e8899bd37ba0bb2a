#!/usr/bin/env bash
# Shows the run, then what the first host says, until Ctrl-C.
set -euo pipefail

xpk workload list --cluster=@{name} --project=@{project} --zone=@{zone}
kubectl logs --selector=@{first} \
  --follow --tail=200
