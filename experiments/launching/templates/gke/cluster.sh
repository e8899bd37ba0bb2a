gcloud container clusters create @{name} --project=@{project} --location=@{zone} --release-channel=rapid \
  --num-nodes=1 --machine-type=e2-standard-4 --service-account=@{account}

gcloud container node-pools create @{pool} --project=@{project} --location=@{zone} --cluster=@{name} \
  --machine-type=@{machine} --num-nodes=@{hosts} @{together} --disk-size=200 @{disk} @{spot} \
  --service-account=@{account} --scopes=cloud-platform

gcloud container clusters get-credentials @{name} --project=@{project} --location=@{zone}
kubectl apply --server-side \
  --filename=https://github.com/kubernetes-sigs/jobset/releases/download/v0.10.1/manifests.yaml
kubectl rollout status deployment/jobset-controller-manager --namespace=jobset-system --timeout=10m
kubectl apply --filename=jobset.yaml
