#!/usr/bin/env bash
# Deletes the cluster with all of its nodes. The run folder stays in its bucket.
set -uo pipefail

xpk cluster delete --cluster=@{name} --project=@{project} --zone=@{zone} --force
