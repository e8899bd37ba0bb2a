# The chips of several hosts are wired together.
gcloud compute resource-policies create workload-policy @{name} --project=@{project} --region=@{region} \
  --type=HIGH_THROUGHPUT --accelerator-topology=@{topology}

