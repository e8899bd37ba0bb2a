#!/usr/bin/env bash
# Deletes the hosts; each is asked to stop (SIGTERM) and saves first. To go on:
# gcloud compute instance-groups managed resize @{name} --project=@{project} --zone=@{zone} --size=@{hosts}
set -euo pipefail

gcloud compute instance-groups managed resize @{name} --project=@{project} --zone=@{zone} --size=0
