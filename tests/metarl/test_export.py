"""Exported rules: what is written comes back, and whatever else lies there is refused with its path."""

import hashlib
import json
import os
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.objectives.export import LoadedRule, load_rule, save_rule

SETTINGS = {"temporal": True, "encoding": "paper", "hidden_size": 4}
RECORD = {"commit": "abc", "generations": 12, "seeds": [0, 1]}


def drift_network(key):
    return {
        "hidden": {"kernel": jax.random.normal(key, (16, 4)), "bias": jnp.zeros((4,))},
        "output": {"kernel": jax.random.normal(key, (4, 1))},
        "offset": jnp.float32(1e-4),
    }


@pytest.fixture
def rule(tmp_path, key):
    """A directory with a saved rule."""
    return save_rule(tmp_path / "rule", "lpo", SETTINGS, drift_network(key), RECORD)


def describe(rule, **changes):
    """Overwrites fields of the description; None removes one."""
    path = rule / "rule.json"
    description = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in description.items() if value is not None}))


def put_arrays(rule, content: bytes):
    """Replaces the archive and makes the description's hash agree with it."""
    (rule / "rule.npz").write_bytes(content)
    describe(rule, sha256=hashlib.sha256(content).hexdigest())


def test_a_rule_comes_back_as_it_was(rule, key):
    loaded = load_rule(rule)
    assert (loaded.objective, loaded.settings, loaded.record) == ("lpo", SETTINGS, RECORD)
    original = drift_network(key)
    assert jax.tree.structure(loaded.meta_params) == jax.tree.structure(original)
    for mine, theirs in zip(jax.tree.leaves(loaded.meta_params), jax.tree.leaves(original), strict=True):
        assert type(mine) is np.ndarray and mine.dtype == np.float32
        np.testing.assert_array_equal(mine, theirs)


def test_two_rules_do_not_disturb_each_other(tmp_path, key):
    first, second = drift_network(key), drift_network(jax.random.fold_in(key, 1))
    for name, params in (("first", first), ("second", second)):
        save_rule(tmp_path / name, name, {}, params, {})
    for name, params in (("first", first), ("second", second)):
        loaded = load_rule(tmp_path / name)
        assert loaded.objective == name
        jax.tree.map(np.testing.assert_array_equal, loaded.meta_params, params)


def test_saving_what_was_loaded_changes_no_byte(rule, tmp_path):
    loaded = load_rule(rule)
    again = save_rule(tmp_path / "again", *loaded)
    for name in ("rule.npz", "rule.json"):
        assert (again / name).read_bytes() == (rule / name).read_bytes()


def test_a_rule_without_parameters_has_none_after_loading(tmp_path):
    assert load_rule(save_rule(tmp_path, "ppo", {"clip": 0.2}, (), {})) == LoadedRule("ppo", {"clip": 0.2}, (), {})


def test_either_file_may_stand_for_the_directory(rule):
    for name in ("rule.npz", "rule.json"):
        assert load_rule(str(rule / name)).objective == "lpo"


def test_the_description_lists_shapes_and_the_hash_of_the_arrays(rule):
    description = json.loads((rule / "rule.json").read_text())
    assert description["schema"] == 1
    assert description["shapes"] == {
        "hidden/kernel": [16, 4],
        "hidden/bias": [4],
        "output/kernel": [4, 1],
        "offset": [],
    }
    assert description["sha256"] == hashlib.sha256((rule / "rule.npz").read_bytes()).hexdigest()


def test_any_floating_point_type_is_saved_as_float32(tmp_path):
    params = {"half": jnp.ones((2,), jnp.bfloat16), "double": np.full((3,), 0.5)}
    loaded = load_rule(save_rule(tmp_path, "lpo", {}, params, {})).meta_params
    assert {name: array.dtype for name, array in loaded.items()} == {"half": np.float32, "double": np.float32}
    np.testing.assert_array_equal(loaded["double"], 0.5)


def test_a_newer_rule_replaces_an_older_one_and_leaves_nothing_else(rule):
    save_rule(rule, "lpg", {}, {"a": np.ones((2,))}, {})
    assert load_rule(rule).objective == "lpg"
    assert sorted(path.name for path in rule.iterdir()) == ["rule.json", "rule.npz"]


def test_an_interrupted_replacement_never_loads_as_a_mixture(rule, monkeypatch):
    replace = os.replace

    def fail_on_description(source, target):
        if str(target).endswith("rule.json"):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr("metarl.objectives.export.os.replace", fail_on_description)
    with pytest.raises(KeyboardInterrupt):
        save_rule(rule, "lpg", {}, {"a": np.ones((2,))}, {})
    assert sorted(path.name for path in rule.iterdir()) == ["rule.json", "rule.npz"]
    with pytest.raises(ValueError, match="rule.npz has sha256"):
        load_rule(rule)


def test_reading_a_rule_needs_numpy_alone(rule):
    code = (
        "import sys; from metarl.objectives.export import load_rule; "
        f"assert load_rule({str(rule)!r}).objective == 'lpo'; assert 'numpy' in sys.modules; "
        "assert not {'jax', 'flax', 'optax', 'distrax', 'gymnax'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", ["rule.npz", "rule.json"])
def test_a_missing_file_is_named(rule, name):
    (rule / name).unlink()
    with pytest.raises(ValueError, match=f"{name} cannot be read .*directory of an exported rule"):
        load_rule(rule)


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere.*cannot be read"):
        load_rule(tmp_path / "nowhere")


def test_a_changed_byte_is_noticed(rule):
    content = bytearray((rule / "rule.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (rule / "rule.npz").write_bytes(content)
    with pytest.raises(ValueError, match="rule.npz has sha256 .* export the rule again"):
        load_rule(rule)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 not an archive either"])
def test_an_archive_that_is_none_is_refused(rule, content):
    put_arrays(rule, content)
    with pytest.raises(ValueError, match="rule.npz is not an archive of plain arrays"):
        load_rule(rule)


def test_a_truncated_archive_is_refused(rule):
    put_arrays(rule, (rule / "rule.npz").read_bytes()[:-30])
    with pytest.raises(ValueError, match="rule.npz is not an archive of plain arrays"):
        load_rule(rule)


def test_a_single_array_is_no_archive(rule, tmp_path):
    np.save(tmp_path / "array.npy", np.ones((2,)))
    put_arrays(rule, (tmp_path / "array.npy").read_bytes())
    with pytest.raises(ValueError, match="rule.npz is not an archive of plain arrays"):
        load_rule(rule)


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("is_archive", [True, False])
def test_objects_in_the_archive_are_never_executed(rule, tmp_path, is_archive):
    trap, evidence = tmp_path / "trap", tmp_path / "evidence"
    if is_archive:
        with open(trap, "wb") as file:
            np.savez(file, a=np.array([Trap(evidence)], dtype=object))
    else:
        trap.write_bytes(pickle.dumps(Trap(evidence)))
    put_arrays(rule, trap.read_bytes())
    with pytest.raises(ValueError, match="rule.npz is not an archive of plain arrays"):
        load_rule(rule)
    assert not evidence.exists()


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe\xff", b""])
def test_a_description_that_is_not_json_is_refused(rule, content):
    (rule / "rule.json").write_bytes(content)
    with pytest.raises(ValueError, match="rule.json is not JSON"):
        load_rule(rule)


@pytest.mark.parametrize("content", ["[]", '"rule"', '{"name": "package"}'])
def test_foreign_json_is_refused(rule, content):
    (rule / "rule.json").write_text(content)
    with pytest.raises(ValueError, match="rule.json does not describe a rule"):
        load_rule(rule)


@pytest.mark.parametrize("schema", [0, 2, "1"])
def test_an_unknown_schema_is_refused_with_the_one_that_is_read(rule, schema):
    describe(rule, schema=schema)
    with pytest.raises(ValueError, match=f"schema {schema!r}; this version reads schema 1"):
        load_rule(rule)


@pytest.mark.parametrize("field", ["objective", "settings", "shapes", "sha256", "record"])
@pytest.mark.parametrize("value", [None, 7])
def test_a_missing_or_wrong_field_is_named(rule, field, value):
    describe(rule, **{field: value})
    with pytest.raises(ValueError, match=f"lacks a valid field '{field}'"):
        load_rule(rule)


@pytest.mark.parametrize("shapes", [{}, {"offset": [1]}, {"offset": [], "more": [2]}])
def test_arrays_of_other_names_or_shapes_are_refused(tmp_path, shapes):
    rule = save_rule(tmp_path, "lpo", {}, {"offset": np.float32(1.0)}, {})
    describe(rule, shapes=shapes)
    with pytest.raises(ValueError, match="holds the float32 arrays .*lists"):
        load_rule(rule)


def test_arrays_of_another_type_are_refused(rule, tmp_path):
    with open(tmp_path / "other", "wb") as file:
        np.savez(file, offset=np.float64(1.0))
    put_arrays(rule, (tmp_path / "other").read_bytes())
    describe(rule, shapes={"offset": []})
    with pytest.raises(ValueError, match="holds the float32 arrays"):
        load_rule(rule)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"a/b": np.ones(2)}, "without '/'"),
        ({"": np.ones(2)}, "non-empty"),
        ({1: np.ones(2)}, "must be non-empty strings"),
        ({"a": [np.ones(2)]}, "list at 'a'"),
        ({"a": (np.ones(2),)}, "tuple at 'a'"),
        ({"a": np.arange(2)}, "floating-point arrays"),
        ({"a": {"b": None}}, "NoneType at 'a/b'"),
        (np.ones(2), "ndarray at 'the root'"),
        ({"file": np.ones(2)}, "names that numpy keeps"),
    ],
)
def test_parameters_that_are_no_nested_dict_of_numbers_are_refused(tmp_path, params, message):
    with pytest.raises(ValueError, match=message):
        save_rule(tmp_path / "rule", "lpo", {}, params, {})
    assert not (tmp_path / "rule").exists()


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), np.float32(1.0)])
def test_settings_and_record_must_be_json(tmp_path, value):
    for settings, record in (({"x": value}, {}), ({}, {"x": value})):
        with pytest.raises(ValueError, match="must be JSON values"):
            save_rule(tmp_path / "rule", "lpo", settings, {}, record)
    assert not (tmp_path / "rule").exists()
