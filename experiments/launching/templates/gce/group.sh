gcloud compute instance-templates create @{name} --project=@{project} \
  --machine-type=@{machine} --image-project=ubuntu-os-accelerator-images --image-family=@{family} \
  --boot-disk-size=200GB @{disk} --maintenance-policy=TERMINATE @{spot} \
  --service-account=@{account} --scopes=cloud-platform --metadata-from-file=startup-script=host.sh

gcloud compute instance-groups managed create @{name} --project=@{project} --zone=@{zone} \
  --template=@{name} --size=@{hosts} --default-action-on-vm-failure=do-nothing @{together}
