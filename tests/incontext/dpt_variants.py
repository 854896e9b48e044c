"""Small models of every kind of attention, for tests of the DPT."""

import jax

from envs.domains import make_domain
from metarl.incontext.build import make_model
from metarl.incontext.collect import make_collect
from metarl.incontext.examples import expert_questions, fresh_examples

SETTINGS = {
    "width": 16,
    "num_layers": 2,
    "num_heads": 2,
    "attention": "independent",
    "positions": "none",
    "activation": "gelu",
    "normalises_queries": False,
    "reads_positions": False,
    "head": "categorical",
    "num_parts": 8,
    "precision": "float32",
}
ROOM = "darkroom@size=4,horizon=6"
VARIANTS = {
    "independent": ("bandit@horizon=12", {}),
    "causal": ("bandit@horizon=12", {"attention": "causal"}),
    "positions": ("bandit@horizon=12", {"attention": "causal", "reads_positions": True}),
    "room": (ROOM, {}),
    "room causal rope": (ROOM, {"attention": "causal", "positions": "rope"}),
    "set": ("bandit@horizon=12", {"attention": "set"}),
    "room set": (ROOM, {"attention": "set"}),
}


def make(variant):
    spec, options = VARIANTS[variant]
    domain = make_domain(spec)
    model = make_model([domain], **{**SETTINGS, **options})
    return domain, model, model.init(jax.random.key(0))


def attention_of(variant):
    return VARIANTS[variant][1].get("attention", "independent")


def example_of(domain, model, length=12, **options):
    ask = expert_questions(domain, model.codec, num_queries=6, **options)
    sample = fresh_examples(domain, make_collect(domain, domain.behaviour, length), ask)
    return sample(jax.random.key(3))
