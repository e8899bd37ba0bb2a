
# Once the run has ended well the host turns itself off, and costs no more than its disk.
systemd-run --collect --unit=turn-off bash -c '
  until [ "$(docker inspect --format="{{.State.Status}} {{.State.ExitCode}}" "$1")" = "exited 0" ]; do sleep 60; done
  shutdown --poweroff now' turn-off @{name}
