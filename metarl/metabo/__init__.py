"""Meta-Bayesian optimisation: a transformer neural process that chooses what to evaluate next.

`metarl.metabo.Optimizer` asks for evaluations of your own objective and is told their results.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metarl.metabo.ask_tell import Optimizer

__all__ = ["Optimizer"]


def __getattr__(name: str) -> Any:
    """Returns `Optimizer`, imported when it is first asked for, so that importing the package needs no jax."""
    if name in __all__:
        from metarl.metabo import ask_tell

        return getattr(ask_tell, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
