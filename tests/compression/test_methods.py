"""Methods by name, and chains of them."""

import pytest

from mkd_tf.checks import MkdError
from mkd_tf.compression.methods import METHODS, connected
from mkd_tf.registry import parse_chains


def test_chains_are_parsed():
    chains = parse_chains("qat, prune(sparsity=0.5)+qat, cluster(clusters=16) + qat")
    assert [[str(s) for s in chain] for chain in chains] == [
        ["qat"],
        ["prune(sparsity=0.5)", "qat"],
        ["cluster(clusters=16)", "qat"],
    ]
    assert parse_chains(" ") == ()


@pytest.mark.parametrize("text", ["qat+", "qat-prune", "prune(0.5)", "1+qat", "[qat"])
def test_a_bad_chain_is_named(text):
    with pytest.raises(MkdError, match="compress: expected a name or name"):
        parse_chains(text, "compress")


def test_a_quantisation_preserves_what_came_before():
    *_, last = connected(parse_chains("prune(sparsity=0.5)+qat")[0])
    assert last.arguments == {"preserve": "sparsity"}
    *_, last = connected(parse_chains("cluster(clusters=8)+qat")[0])
    assert last.arguments == {"preserve": "clusters", "clusters": 8}


def test_a_quantisation_alone_preserves_nothing():
    assert [str(s) for s in connected(parse_chains("qat")[0])] == ["qat"]


def test_what_the_user_says_stands():
    *_, last = connected(parse_chains("prune(sparsity=0.5)+qat(preserve='nothing')")[0])
    assert METHODS.build(last).preserve == "nothing"


def test_an_unknown_method_is_named():
    with pytest.raises(MkdError, match="compression: expected one of .*qat.*, got 'squash'"):
        METHODS.build("squash")
