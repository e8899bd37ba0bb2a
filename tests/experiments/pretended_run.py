"""What `rehearse` starts in its tests: a run of pretended steps, with a fault where one is named.

python -m tests.experiments.pretended_run FAULT --workdir=DIR --process=I … (other flags are not read)
"""

import json
import os
import pathlib
import sys
import time

STEPS = 6


def main(fault, flags):
    """Logs a step each 50 ms; ends soon after another process was killed, as the real one does."""
    given = dict(flag.split("=", 1) for flag in flags)
    folder, process = pathlib.Path(given["--workdir"]), int(given["--process"])
    folder.mkdir(parents=True, exist_ok=True)
    log, own = folder / "metrics.jsonl", folder / f"pid_{process}"
    begun = own.exists()  # by this process: the other may have logged a step of the first start before it comes
    own.write_text(str(os.getpid()))
    if fault == "exits" and process == 1:
        sys.exit("config error: the batch is no multiple")
    if fault == "hangs":
        time.sleep(60)
    if fault == "fails again" and begun:
        sys.exit("error: the checkpoint is damaged")
    logged = len(log.read_text().splitlines()) if begun and fault != "logs twice" else 0
    for step in range(logged + 1, STEPS + 1):
        if process == 0:
            with log.open("a") as file:
                file.write(json.dumps({"step": step, "split": "train"}) + "\n")
        time.sleep(0.05)
    end = time.monotonic() + (0 if begun else 30)
    last = folder / f"pid_{int(given['--processes']) - 1}"
    while fault != "survives" and time.monotonic() < end:
        if last.exists() and (pid := last.read_text()) and is_dead(int(pid)):
            sys.exit("error: process 1 is gone")
        time.sleep(0.05)


def is_dead(pid):
    """Whether a process has ended; one that nobody waits for yet counts."""
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return True
    return state == "Z"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
