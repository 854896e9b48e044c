"""The fixed-batch probe: one agent and one batch, shown to the rule at every point of lives of every length."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from analysis.figure import QUANTITIES, Picture, hide_unused, horizon_colours, make_figure, style

Probe = Mapping[str, Float[np.ndarray, "..."]]
"""`lifetimes` [L], `fractions` [F], and quantities [L, F]."""


def probe_quantities(probe: Probe) -> list[str]:
    """Returns the names of the probed quantities, in the order of QUANTITIES; empty if there is no probe."""
    names = [name for name in probe if name not in ("lifetimes", "fractions")]
    order = list(QUANTITIES)
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def probe_lines(probe: Probe) -> Picture | None:
    """Returns the probed quantities over n/N, a line for each lifetime, or None without a probe."""
    names = probe_quantities(probe)
    if not names:
        return None
    lifetimes = [int(lifetime) for lifetime in probe["lifetimes"]]
    colours = horizon_colours(lifetimes)
    with style():
        figure, axes = make_figure(-(-len(names) // 3), min(3, len(names)), height=2.3, sharex=True)
        for axis, name in zip(axes.flat, names, strict=False):
            for lifetime, values in zip(lifetimes, probe[name], strict=True):
                label = f"N = {lifetime}"
                axis.plot(probe["fractions"], values, color=colours[lifetime], linewidth=1.3, label=label)
            axis.set_title(QUANTITIES.get(name, name), fontsize=8.5)
        hide_unused(axes, len(names))
        figure.supxlabel("fraction of life n/N shown to the rule", fontsize=9)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=len(labels), handlelength=1.4, columnspacing=1.2)
    caption = (
        "The discovered rule is asked about one and the same agent and batch, and only the clock (n, N) it is shown "
        "varies. Every difference in these panels is therefore an effect of time alone; a rule that ignores time is "
        "flat everywhere."
    )
    return Picture("probe_lines", "Fixed-batch probe", caption, figure, dict(probe))


def _edges(centres: np.ndarray) -> np.ndarray:
    """Returns cell borders half-way between centres, [len + 1]."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    middle = 0.5 * (centres[1:] + centres[:-1])
    return np.concatenate([[1.5 * centres[0] - 0.5 * centres[1]], middle, [1.5 * centres[-1] - 0.5 * centres[-2]]])


def probe_maps(probe: Probe) -> Picture | None:
    """Returns heat maps over (n/N, N) of how far the rule's outputs move from n = 0; None where it was not probed."""
    names = [name for name in ("pi_hat_change", "y_hat_change") if name in probe]
    if not names:
        return None
    lifetimes = probe["lifetimes"]
    with style():
        figure, axes = make_figure(1, len(names), height=2.9, sharey=True)
        for axis, name in zip(axes.flat, names, strict=True):
            rows = np.arange(len(lifetimes), dtype=np.float64)
            cells = _edges(probe["fractions"]), _edges(rows)
            mesh = axis.pcolormesh(*cells, probe[name], cmap="cividis", vmin=0.0, rasterized=True)
            figure.colorbar(mesh, ax=axis, pad=0.02).outline.set_visible(False)
            axis.set_yticks(rows, [f"{lifetime:g}" for lifetime in lifetimes])
            axis.set(title=QUANTITIES[name], xlabel="fraction of life n/N")
            axis.grid(False)
        axes[0, 0].set_ylabel("lifetime N (updates)")
    caption = (
        "The same probe as a map: root-mean-square change of the rule's outputs relative to what it says at n = 0 "
        "with the same N. The left edge is zero by construction; zero everywhere would mean that the rule ignores n."
    )
    numbers = {name: probe[name] for name in ("lifetimes", "fractions", *names)}
    return Picture("probe_maps", "Fixed-batch probe as a map", caption, figure, numbers)


def probe_summary(probe: Probe) -> list[dict[str, float]]:
    """Returns what time alone does at each lifetime: quantities at both ends of a life, and the largest changes.

    Each entry has `lifetime`, and for each quantity `<name>/first` and `<name>/last`, or for changes `<name>/largest`.
    """
    summary = []
    for index, lifetime in enumerate(probe.get("lifetimes", ())):
        entry = {"lifetime": float(lifetime)}
        for name in probe_quantities(probe):
            values = probe[name][index]
            if name.endswith("_change"):
                entry[f"{name}/largest"] = float(np.max(values))
            else:
                entry |= {f"{name}/first": float(values[0]), f"{name}/last": float(values[-1])}
        summary.append(entry)
    return summary
