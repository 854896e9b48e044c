"""Training examples about contexts that were gathered elsewhere: a corpus, whole on the device."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from envs.domain import Domain
from metarl.experiments.pretrain_config import PretrainConfig
from metarl.experiments.pretrain_learners import DPTConfig
from metarl.incontext.context import Answered
from metarl.incontext.corpus import load_corpus
from metarl.incontext.dpt import DPT, Example
from metarl.incontext.examples import stored_questions


def stored_examples(config: PretrainConfig, model: DPT, length: int) -> Callable[[Array], Example]:
    """Returns `sample(key) -> Example` about a context of the corpus, drawn uniformly; the key is consumed.

    What is drawn depends on the key alone, so that a run which was stopped continues it exactly. The corpus becomes
    part of the compiled program: it must fit into the memory of every device beside the model, and a few hundred MB
    are a sensible limit.

    Raises:
        ValueError: if the corpus cannot be read, or does not fit the domain or the context's length.
    """
    assert config.corpus is not None and isinstance(config.learner, DPTConfig)
    (domain,) = model.codec.domains
    corpus = load_corpus(config.corpus)
    if not isinstance(corpus, Answered):
        raise ValueError(f"{config.corpus} holds contexts without answers; write each as an Answered one")
    _check_fit(config.corpus, corpus, domain, length)
    ask = stored_questions(
        domain,
        model.codec,
        num_queries=config.learner.num_queries,
        prefixes=config.learner.prefixes,
        shares_prefix=config.model.attention == "set",
    )

    def sample(key: Array) -> Example:
        key_choice, key_ask = jax.random.split(key)
        index = jax.random.randint(key_choice, (), 0, corpus.answer.shape[0])
        return ask(jax.tree.map(lambda leaf: leaf[index], corpus), key_ask)

    return sample


def _check_fit(path: str, corpus: Answered, domain: Domain, length: int) -> None:
    """Raises ValueError unless contexts have `length` places and everything in them the shapes of the domain."""
    seen = jax.eval_shape(domain.sample_query, jax.random.key(0), domain.env.default_params)
    step, count = corpus.context.transitions, corpus.answer.shape[0]
    action = (domain.num_actions,) if domain.is_continuous else ()
    num_answers = corpus.answer.shape[1]
    pairs = {
        "observations": (step.observation.shape, (count, length, *seen.shape)),
        "next observations": (step.next_observation.shape, (count, length, *seen.shape)),
        "actions": (step.action.shape, (count, length, *action)),
        "rewards": (step.reward.shape, (count, length)),
        "questions": (corpus.observation.shape, (count, num_answers, *seen.shape)),
        "answers": (corpus.answer.shape, (count, num_answers, domain.num_actions)),
    }
    for name, (found, needed) in pairs.items():
        if found != needed:
            raise ValueError(
                f"the {name} of {path} have the shape {list(found)}, and {domain.name} with a context_length of "
                f"{length} needs {list(needed)}; choose the domain and the length that it was written for"
            )
    if not domain.is_continuous and not bool(jnp.all((step.action >= 0) & (step.action < domain.num_actions))):
        raise ValueError(f"{path} holds actions outside 0 to {domain.num_actions - 1}, all that {domain.name} has")
