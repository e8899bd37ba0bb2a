#!/usr/bin/env bash
# Stops the run: each pod is asked to stop (SIGTERM) and saves first. The nodes stay, and cost money. To go on: the second
# command of create.sh.
set -euo pipefail

xpk workload delete --workload=@{name} --cluster=@{name} --project=@{project} --zone=@{zone}
