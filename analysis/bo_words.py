"""What a page about a neural process begins with: who did what, and what its numbers are."""

from collections.abc import Sequence

from analysis.bo_load import measured, studies
from analysis.load import Row

PREDICTING = "A neural process was trained to predict functions from a few of their values"
REINFORCED = ", and by reinforcement learning to choose what is evaluated next."
EXPECTING = "; what is evaluated next is chosen by expected improvement."
FROZEN = "Here its weights are frozen."
IN_POOLS = (
    "It optimises pools of candidates that it was not trained on, beside other optimisers that begin at the same "
    "points."
)
IN_STUDIES = (
    "It proposes the trials of Optuna's studies of whole tables that it was not trained on, beside other samplers "
    "that begin with the same trials; what a table does not hold is answered with the nearest that it holds."
)
REGRET = (
    "Regret is what the best value so far lacks of the best there is, as a share of the range of all values; AUC is "
    "its mean along the evaluations, and lower is better."
)


def lead_words(rows: Sequence[Row], *, is_reinforced: bool) -> str:
    """Returns the first paragraph of a page: how the model was trained, where it optimises, what regret is.

    Args:
        rows: of an evaluation, which say whether pools, studies or both were optimised; pools if there are none yet.
        is_reinforced: whether choosing was trained too.
    """
    found = studies(rows)
    where = [IN_STUDIES] if found else []
    if not found or len(found) < len(measured(rows)):
        where.insert(0, IN_POOLS)
    return " ".join([PREDICTING + (REINFORCED if is_reinforced else EXPECTING), FROZEN, *where, REGRET])
