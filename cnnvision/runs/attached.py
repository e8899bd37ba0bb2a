"""`python -m cnnvision.runs.attached COMMAND …`: the command in a process that ends with the one that started it.

Whoever starts it keeps its standard input open. That ends with its owner, however the owner ends: a cell of a grid never
goes on alone, beside the same cell of a grid that was started again.
"""

import os
import runpy
import signal
import threading


def _end_with_owner() -> None:
    os.read(0, 1)  # not sys.stdin: Python could not end while a thread waits in it
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with_owner, daemon=True).start()
    runpy.run_module("cnnvision", run_name="__main__", alter_sys=True)
