gcloud compute resource-policies delete @{name} --project=@{project} --region=@{region} --quiet
