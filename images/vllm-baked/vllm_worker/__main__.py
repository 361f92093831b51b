"""`python -m vllm_worker`."""

import os
import sys

if __name__ == "__main__":
    try:
        from vllm_worker._run import run
    except ImportError as error:
        sys.exit(f"vllm_worker cannot be imported: {error}; are its code and its dependencies on PYTHONPATH?")
    sys.exit(run(os.environ))
