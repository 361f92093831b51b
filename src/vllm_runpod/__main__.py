"""`python -m vllm_runpod`."""

import sys

from vllm_runpod.main import main

sys.exit(main())
