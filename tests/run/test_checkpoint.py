import errno
import gc
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metarl.run import checkpoint
from metarl.run.errors import UserError
from populations.mesh import make_mesh, replicate, split

NOTES = {"seed": 3, "env_steps_total": 2**40}


class Everything(NamedTuple):
    key: Any
    step: Any
    params: Any
    optimiser: Any
    kinds: Any


def init(key):
    params = {"w": jax.random.normal(key, (40, 50)), "b": jnp.zeros((0, 3), jnp.float32)}
    kinds = (
        jax.random.split(key, 3),
        jax.random.split(key, 0),
        jax.random.key(1, impl="rbg"),
        jnp.array([0.0, -0.0, jnp.inf, jnp.nan, 1e-45], jnp.float32),
        jnp.array([1.5, -0.0], jnp.bfloat16),
        jnp.array([True, False]),
        jnp.array([[-128, 127]], jnp.int8),
        jnp.uint32(2**32 - 1),
        (),
        None,
    )
    return Everything(key, jnp.int32(7), params, optax.adam(1e-3).init(params), kinds)


def data(leaf):
    return np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)


def assert_same_bits(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert data(a).tobytes() == data(b).tobytes()


def contents(path):
    return {p: hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else None for p in Path(path).rglob("*")}


@pytest.fixture(scope="module")
def state():
    return jax.jit(init)(jax.random.key(0))


@pytest.fixture(scope="module")
def template():
    return jax.eval_shape(init, jax.random.key(0))


@pytest.fixture(scope="module")
def written(tmp_path_factory, state):
    """Returns a directory with checkpoints at 10 and 20, for tests to copy."""
    directory = tmp_path_factory.mktemp("written")
    for step in (10, 20):
        checkpoint.save(directory, step, state._replace(step=jnp.int32(step)), NOTES)
    return directory


@pytest.fixture
def saved(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "checkpoints"))


def test_a_state_of_every_kind_of_array_comes_back_bit_for_bit(saved, state, template):
    restored = checkpoint.restore(saved, template)
    assert_same_bits(restored.state, state._replace(step=jnp.int32(20)))
    assert (restored.step, restored.notes, restored.unusable) == (20, NOTES, {})


def test_a_live_state_is_a_template_too(saved, state):
    assert int(checkpoint.restore(saved, state).state.step) == 20


def test_only_the_latest_checkpoints_are_kept(tmp_path):
    for step in (1, 5, 9, 10, 100):
        checkpoint.save(tmp_path, step, {"x": jnp.int32(step)}, {})
    assert checkpoint.steps(tmp_path) == [9, 10, 100]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["10", "100", "9"]


def test_no_checkpoints_is_not_an_error(tmp_path, template):
    assert checkpoint.restore(tmp_path, template) is None
    assert checkpoint.restore(tmp_path / "missing", template) is None


def test_leaves_are_placed_like_those_of_the_template(tmp_path):
    mesh = make_mesh()
    tree = {"split": split(jnp.arange(16.0), mesh), "whole": replicate(jax.random.key(0), mesh), "one": jnp.int32(1)}
    checkpoint.save(tmp_path, 1, tree, {})
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)
    restored = checkpoint.restore(tmp_path, like).state
    assert_same_bits(restored, tree)
    assert jax.tree.map(lambda x: x.sharding, restored) == jax.tree.map(lambda x: x.sharding, tree)
    anywhere = checkpoint.restore(tmp_path, jax.eval_shape(lambda: tree)).state
    assert_same_bits(anywhere, tree)
    assert {x.sharding for x in jax.tree.leaves(anywhere)} == {jnp.zeros(()).sharding}


def files_of(path):
    return sorted(p for p in path.rglob("*") if p.is_file())


def remove(path):
    path.unlink()


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scramble(path):
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size + 1))


def flip_one_bit(path):
    content = bytearray(path.read_bytes() or b"\0")
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [remove, halve, scramble, flip_one_bit])
def test_damage_to_any_file_is_noticed_and_the_previous_checkpoint_used(written, tmp_path, template, damage):
    num_files = len(files_of(written / "20"))
    assert num_files > 5
    for index in range(num_files):
        directory = Path(shutil.copytree(written, tmp_path / str(index)))
        victim = files_of(directory / "20")[index]
        size = victim.stat().st_size
        damage(victim)
        if damage is halve and size == 0:
            continue  # half of nothing is no damage
        restored = checkpoint.restore(directory, template)
        assert (restored.step, int(restored.state.step), list(restored.unusable)) == (10, 10, [20]), victim
        shutil.rmtree(directory)


def test_damage_is_described(saved, template):
    name = "state/_METADATA"
    flip_one_bit(saved / "20" / name)
    assert checkpoint.restore(saved, template).unusable == {20: f"its file {name} was changed"}
    remove(saved / "20" / name)
    assert checkpoint.restore(saved, template).unusable == {20: f"its file {name} is missing"}
    remove(saved / "20/manifest.json")
    assert checkpoint.restore(saved, template).unusable == {20: "it has no manifest.json"}


def test_only_when_none_can_be_used_it_is_an_error_naming_the_path(saved, template):
    for step in (10, 20):
        scramble(saved / f"{step}/manifest.json")
    before = contents(saved)
    with pytest.raises(
        UserError, match=f"no checkpoint in {saved} can be used, .*{saved}/20.* not one of ours; it must be"
    ):
        checkpoint.restore(saved, template)
    assert contents(saved) == before


@pytest.mark.parametrize("content", ["[]", "{}", '{"content": {}, "sha256": ""}', "null", ""])
def test_a_foreign_manifest_is_not_trusted(saved, template, content):
    (saved / "20/manifest.json").write_text(content)
    assert list(checkpoint.restore(saved, template).unusable) == [20]


def test_a_renamed_checkpoint_is_not_taken_for_a_later_one(saved, template):
    (saved / "20").rename(saved / "30")
    assert checkpoint.restore(saved, template).unusable == {30: "it is the checkpoint of step 20, renamed"}


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t._replace(step=jax.ShapeDtypeStruct((), jnp.float32)), r"step: int32\[\] where step: float32\[\]"),
        (lambda t: t._replace(key=jax.ShapeDtypeStruct((2,), jnp.uint32)), r"key: key<fry>\[\] where key: uint32\[2\]"),
        (
            lambda t: t._replace(params={**t.params, "w": jax.ShapeDtypeStruct((50, 40), jnp.float32)}),
            r"40, 50.*50, 40",
        ),
        (lambda t: t._replace(params={"v": t.params["w"], "b": t.params["b"]}), r"holds params.w: .* where params.v"),
        (lambda t: t._replace(kinds=t.kinds[:-3]), r"holds \d+ arrays where \d+ are needed"),
        (lambda t: t._replace(kinds=(*t.kinds, t.step)), r"holds \d+ arrays where \d+ are needed"),
        (lambda t: {"x": t.step}, "where x: int32"),
    ],
)
def test_the_state_of_another_experiment_is_refused_by_leaf(saved, template, change, message):
    before = contents(saved)
    with pytest.raises(UserError, match=message):
        checkpoint.restore(saved, change(template))
    assert contents(saved) == before


def test_an_intact_checkpoint_that_orbax_cannot_read_is_passed_over(saved, template, monkeypatch):
    real = checkpoint.ocp.Checkpointer.restore

    def restore(self, path, **arguments):
        if "/20/" in str(path):
            raise Exception("unknown format\nand a long story")
        return real(self, path, **arguments)

    monkeypatch.setattr(checkpoint.ocp.Checkpointer, "restore", restore)
    restored = checkpoint.restore(saved, template)
    assert (restored.step, restored.unusable) == (10, {20: "orbax cannot read it (unknown format)"})


def test_what_a_kill_leaves_is_no_checkpoint_and_is_tidied_away(saved, template):
    (saved / "20").rename(saved / ".unfinished-20")
    (saved / ".unfinished-20/manifest.json").unlink()
    assert checkpoint.steps(saved) == [10]
    assert checkpoint.restore(saved, template).step == 10
    assert checkpoint.tidy(saved, {}) == []
    assert [p.name for p in saved.iterdir()] == ["10"]


def test_unusable_checkpoints_move_out_of_the_way_of_new_ones(saved, state, template):
    for expected in ("20.unusable", "20.unusable1"):
        flip_one_bit(saved / "20/manifest.json")
        restored = checkpoint.restore(saved, template)
        assert checkpoint.tidy(saved, restored.unusable) == [saved / expected]
        checkpoint.save(saved, 20, state, NOTES)
        assert checkpoint.steps(saved) == [10, 20]


# Every array needs more.
@pytest.mark.parametrize("size", [1000, *(pytest.param(size, marks=pytest.mark.slow) for size in (100, 3000, 10_000))])
def test_a_disk_that_is_full_for_orbax_leaves_earlier_checkpoints(saved, limit_file_size, capfd, caplog, size):
    state = {str(index): jax.device_put(np.random.default_rng(index).random(4000, np.float32)) for index in range(30)}
    before = contents(saved)
    limit_file_size(size)
    with pytest.raises(UserError, match=f"cannot write {saved}/.unfinished-30: File too large; cure that"):
        checkpoint.save(saved, 30, state, NOTES)
    assert contents(saved) == before
    gc.collect()
    assert (capfd.readouterr().err, caplog.records) == ("", [])  # also of the writes that orbax does not wait for


@pytest.mark.parametrize("broken", ["replace", "rename", "fsync"])
def test_a_disk_that_is_full_for_us_leaves_earlier_checkpoints(saved, state, monkeypatch, broken):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = contents(saved)
    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(UserError, match="No space left on device"):
        checkpoint.save(saved, 30, state, NOTES)
    assert contents(saved) == before


def test_an_error_that_is_not_the_disks_is_not_called_one(tmp_path):
    with pytest.raises(ValueError) as caught:
        checkpoint.save(tmp_path, 1, {"x": np.array(["text"])}, {})
    assert not isinstance(caught.value, UserError)


def test_nothing_is_pickled(saved):
    manifest = json.loads((saved / "20/manifest.json").read_text())
    assert manifest["content"]["leaves"][0] == ["key", "key<fry>", []]
    assert not [p for p in files_of(saved) if p.read_bytes().startswith(b"\x80")]
