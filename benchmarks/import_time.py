"""How long `import vaelib` takes beyond `import torch`, in fresh interpreters, in one run.

The two are timed alternately, so that a busy moment of the machine meets both; the median of the
differences is compared with the bound. Run: make bench
"""

import statistics
import subprocess
import sys

BOUND_MS = 100
ROUNDS = 9
CODE = """
import time
start = time.perf_counter()
import torch
middle = time.perf_counter()
import vaelib
from vaelib import vae, train, evaluate
end = time.perf_counter()
print(middle - start, end - middle)
"""


def main() -> int:
    """Print both times; 1 if ours is above the bound."""
    torch_ms, ours_ms = [], []
    for _ in range(ROUNDS + 1):
        out = subprocess.run(
            [sys.executable, "-c", CODE], capture_output=True, text=True, check=True
        ).stdout
        first, second = (1000 * float(v) for v in out.split())
        torch_ms.append(first)
        ours_ms.append(second)
    # The first round fills the disk cache and is left out.
    torch_ms, ours_ms = torch_ms[1:], ours_ms[1:]
    median = statistics.median(ours_ms)
    print(f"import torch   {statistics.median(torch_ms):6.0f} ms")
    print(
        f"import vaelib  {median:6.0f} ms more "
        f"({min(ours_ms):.0f} … {max(ours_ms):.0f} in {ROUNDS} rounds; bound {BOUND_MS})"
    )
    return int(median > BOUND_MS)


if __name__ == "__main__":
    sys.exit(main())
