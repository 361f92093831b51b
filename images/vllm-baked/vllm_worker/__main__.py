"""`python -m vllm_worker`."""

import os
import sys

from vllm_worker import run

if __name__ == "__main__":
    sys.exit(run(os.environ))
