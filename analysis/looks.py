"""How every arm is drawn, in all figures alike: colour, dashes, marker and name."""

from typing import NamedTuple


class Look(NamedTuple):
    """How an arm is drawn wherever it appears."""

    colour: str
    """Of lines and swatches."""
    dashes: str | tuple[int, tuple[float, ...]]
    """Line style."""
    marker: str
    """A second channel, for print without colour."""
    label: str
    """In words."""


DASHED, DOTTED, DASH_DOTTED = (0, (5.0, 1.5)), (0, (1.5, 1.5)), (0, (6.0, 1.5, 1.5, 1.5))
RULE_ARMS = {
    "discovered": Look("#0b5cad", "-", "o", "discovered rule"),
    "a2c": Look("#d9730d", DASHED, "s", "A2C"),
    "ppo": Look("#0f8a5f", DASH_DOTTED, "v", "PPO"),
    "dpo": Look("#7a1f5c", (0, (3.5, 1.0, 1.0, 1.0, 1.0, 1.0)), "P", "DPO"),
    "initial": Look("#8a8f98", DOTTED, "^", "initial rule"),
}
"""Fixed everywhere. Any two colours stay apart in all common colour-vision deficiencies, the closer ones by lightness
too."""
ACTING_ARMS = {
    "dpt": Look("#0b5cad", "-", "o", "DPT"),
    "dpt-greedy": Look("#0b5cad", DASHED, "s", "DPT, greedy"),
    "ad": Look("#c9b04f", "-", "o", "AD"),
    "ad-greedy": Look("#c9b04f", DASHED, "s", "AD, greedy"),
    "rl2": Look("#5a2de0", "-", "o", "RL²"),
    "rl2-greedy": Look("#5a2de0", DASHED, "s", "RL², greedy"),
    "posterior": Look("#1f2328", "-", "D", "exact Thompson"),
    "psrl": Look("#1f2328", DASHED, "D", "PSRL"),
    "sampled": Look("#1f2328", DOTTED, "d", "exact P(a*)"),
    "argmax": Look("#7a1f5c", "-", "P", "exact P(a*), greedy"),
    "mean": Look("#7a1f5c", DOTTED, "X", "exact mean"),
    "thompson": Look("#0f8a5f", "-", "v", "Thompson"),
    "lints": Look("#0f8a5f", DASHED, "^", "linear Thompson"),
    "ucb1.0": Look("#d9730d", "-", "<", "UCB 1.0"),
    "ucb0.6": Look("#d9730d", DASHED, ">", "UCB 0.6"),
    "ucb0.3": Look("#d9730d", DOTTED, "<", "UCB 0.3"),
    "linucb": Look("#d9730d", DASH_DOTTED, ">", "LinUCB"),
    "emp": Look("#5f5100", "-", "h", "empirical mean"),
    "lcb": Look("#5f5100", DASHED, "p", "LCB"),
    "linreg": Look("#5f5100", DOTTED, "H", "linear regression"),
    "source": Look("#56b4e9", DASH_DOTTED, "*", "source"),
    "uniform": Look("#9aa0a8", DOTTED, "x", "uniform"),
    "stranger": Look("#9aa0a8", DASHED, "+", "other tasks' expert"),
    "expert": Look("#1f2328", DASH_DOTTED, "*", "expert"),
}
"""Who acts in context, in the order of tables and legends. Relatives share a colour and differ in dashes; colours of
strangers stay apart like those of rules, beside which these arms are never drawn."""
OPTIMISER_ARMS = {
    "nap": Look("#0b5cad", "-", "o", "NAP"),
    "np-ei": Look("#d9730d", DASHED, "s", "NP-EI"),
    "np-ucb": Look("#d9730d", DOTTED, "<", "NP-UCB"),
    "np-ts": Look("#d9730d", DASH_DOTTED, ">", "NP-TS"),
    "np-ei-pretrained": Look("#7a1f5c", DASH_DOTTED, "P", "NP-EI before RL"),
    "gp-ei": Look("#0f8a5f", (0, (3.5, 1.0, 1.0, 1.0, 1.0, 1.0)), "v", "GP-EI"),
    "gp-ucb": Look("#5f5100", (0, (5.0, 1.5)), "^", "GP-UCB"),
    "gp-turbo": Look("#56b4e9", (0, (1.0, 1.0)), "D", "GP in a trust region"),
    "tpe": Look("#1f2328", "-", "p", "TPE"),
    "tpe-5-startup": Look("#1f2328", DOTTED, "h", "TPE, 5 start-up trials"),
    "random": Look("#8a8f98", DOTTED, "x", "random"),
}
"""Who optimises pools or whole tables, in the order of tables and legends; drawn beside no other arms. What else an
evaluation holds follows in the colours of arms that are not known."""
