"""What `Playground` shows before anybody presses ▶: the same training in torch (seconds).

    python benchmarks/playground.py

Stored in vaelib/course/results/playground.json; tests/test_playground_figure.py makes it again.
"""

import provenance
import torch

from vaelib.course.figures.playground import small_digits
from vaelib.course.figures.poster import poster

SEED = 0


def main() -> None:
    """Train once, and store what is seen with where it comes from."""
    images, held_out, _ = small_digits()
    origin = provenance.origin("benchmarks/playground.py", torch.device("cpu"))
    found = poster(images, held_out, seed=SEED)
    print(found["points"][-1])
    provenance.write(
        provenance.RESULTS / "playground.json", {**origin, "seed": SEED, "poster": found}
    )


if __name__ == "__main__":
    main()
