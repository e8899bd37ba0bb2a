#!/usr/bin/env bash
# Shows the run and its pods, then what the first host says, until Ctrl-C.
set -euo pipefail

kubectl get jobset @{name}
kubectl get pods --selector=@{selector} --output=wide
kubectl logs --selector=@{first} \
  --follow --tail=200
