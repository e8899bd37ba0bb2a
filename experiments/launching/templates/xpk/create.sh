#!/usr/bin/env bash
# Makes a cluster with xpk (pip install xpk==1.16.0), and starts the run on it. It costs money until delete.sh has run.
set -euo pipefail

xpk cluster create --cluster=@{name} --project=@{project} --zone=@{zone} --tpu-type=@{type} --num-slices=1 \
  --default-pool-cpu-num-nodes=1 --custom-nodepool-arguments=@{nodes} @{capacity}

# By itself xpk starts again what ended with 42 or 127 to 255. 75 is "stopped and saved"; with 1 ends a process that did not
# find the others. Each start counts.
xpk workload create --workload=@{name} --cluster=@{name} --project=@{project} --zone=@{zone} \
  --tpu-type=@{type} --num-slices=1 --docker-image=@{image} @{environment} \
  --max-restarts=@{restarts} --restart-on-exit-codes=1,75 --termination-grace-period-seconds=@{grace} \
  --command=@{line}
