"""Do chains in processes that die at a given write; `test_kills` talks to it.

A line of JSON from the standard input says which chain (``config``) and how it dies: at the first
write of a name (``at``, ``moment``), after seconds of processor time (``seconds``), or not at all.
Each is done by a fork of this process, which has imported all that is needed and computed nothing;
a line says how it ended.
"""

import json
import os
import signal
import sys
import traceback
from fnmatch import fnmatch
from pathlib import Path

os.environ |= {
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # pyarrow's allocator starts one
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}

import torch  # noqa: E402 - after the settings

from distill.config import load_config  # noqa: E402
from distill.run import run_chain  # noqa: E402

rename, write = os.replace, os.write


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def tear(path):
    """Leave half of a file, or half of the largest file of a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    largest = max(files, key=lambda file: file.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)


def install(at, moment):
    """Die before, in the middle of or after the first write of a name.

    All files but the log are written beside their place and renamed.
    """

    def replace(source, target, **options):
        if not fnmatch(Path(target).name, at):
            return rename(source, target, **options)
        if moment == "middle":
            tear(Path(source))
        if moment == "after":
            rename(source, target, **options)
        die()

    def append(handle, data):
        if not fnmatch(Path(os.readlink(f"/proc/self/fd/{handle}")).name, at):
            return write(handle, data)
        write(handle, data[: {"before": 0, "middle": len(data) // 2}.get(moment)])
        die()

    os.replace, os.write = replace, append


def live(order):
    """Do a chain to its end, or to that of this process."""
    try:
        if "at" in order:
            install(order["at"], order["moment"])
        if "seconds" in order:
            signal.setitimer(signal.ITIMER_PROF, order["seconds"])  # unhandled, it ends a process
        run_chain(load_config(order["config"]), bar=False)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def main():
    torch.set_num_threads(1)
    threads = len(os.listdir("/proc/self/task"))  # of a process with others, a fork is not whole
    print(json.dumps({"threads": threads}), flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            live(json.loads(line))
        print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])), flush=True)


if __name__ == "__main__":
    main()
