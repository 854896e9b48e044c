"""What `README.md` shows of the library is run as it stands there."""

import math
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "README.md"


def train(rate, layers, kind):
    """Returns how good a setting is; the best is 1."""
    return 1.0 - (math.log10(rate) + 2.0) ** 2 - 0.25 * (layers - 4) ** 2 - 0.5 * (kind != "b")


def test_the_optimiser_of_the_readme_finds_what_training_likes():
    (code,) = re.findall(r"```python\n(from metarl\.metabo import Optimizer\n.*?)```", PAGE.read_text(), re.DOTALL)
    example = code.replace('["relu", "tanh"]', '["a", "b"]')
    assert example != code
    names = {"train": train}
    exec(compile(example, str(PAGE), "exec"), names)
    # The best of 30 uniform draws is .65 on average and above .98 in a tenth of the cases, by simulation of 20,000.
    assert len(names["optimizer"].results) == 30 and names["optimizer"].best.value > 0.98
