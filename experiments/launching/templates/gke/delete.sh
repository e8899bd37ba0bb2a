#!/usr/bin/env bash
# Deletes the cluster with all of its nodes, and what else create.sh has made. The run folder stays in its bucket.
set -uo pipefail

gcloud container clusters delete @{name} --project=@{project} --location=@{zone} --quiet
