"""A sweep in a process of its own, for tests that kill it: jobs from a file, on this machine.

``python driver.py OUT WORKERS [retry]``
"""

import sys
from pathlib import Path

from experiments.backends.local import Local
from experiments.engine import FOLDER, Sweep
from experiments.jobs import load_jobs

if __name__ == "__main__":
    out = Path(sys.argv[1])
    jobs = load_jobs(out / FOLDER / "wanted.json")
    try:
        done = Sweep(out, jobs, Local(int(sys.argv[2])), retry="retry" in sys.argv).run()
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0 if done else 1)
