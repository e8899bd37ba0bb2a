#!/usr/bin/env bash
# Deletes all that create.sh has made, or as much of it as there is. The run folder stays in its bucket.
set -uo pipefail

gcloud compute instance-groups managed delete @{name} --project=@{project} --zone=@{zone} --quiet
gcloud compute instance-templates delete @{name} --project=@{project} --quiet
