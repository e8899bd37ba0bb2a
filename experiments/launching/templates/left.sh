
echo "What is left, and costs money (no host should be listed):"
gcloud compute instances list --project=@{project} --filter=@{left}
