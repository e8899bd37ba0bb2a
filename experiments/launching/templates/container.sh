docker pull @{image}

# A container that was started before is asked to stop and to save first.
docker stop @{name} 2>/dev/null || true
docker rm @{name} 2>/dev/null || true

# Started again whenever it ends with another code than 0 (75: stopped and saved). When the host goes down, Docker sends
# SIGTERM and waits --stop-timeout seconds. Chips need --privileged, and JAX the host's network to find the other hosts.
docker run --detach --name=@{name} --restart=on-failure --stop-timeout=@{grace} \
  --privileged --network=host --ipc=host --ulimit=memlock=-1 --log-driver=gcplogs \
  --volume=/var/cache/cnnvision:/root/.cache/cnnvision @{environment} \
  @{image} @{command}
