"""Terms as graphs, against the original's counts and against a plain construction."""

import json
from collections import Counter
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jahslib.errors import UserError
from jahslib.spaces.grammars import examples
from jahslib.spaces.grammars.evolve import mutate
from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.graphs import INPUT, OUTPUT, Graph, graph
from jahslib.spaces.grammars.terms import Term
from tests.surrogates import published_folding

SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=25, deadline=None)
GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "grammar_kernels.json").read_text())
SPACES = {"fixed_1_none": "cell-based", "variable_multi_multi": "hierarchical"}


@pytest.mark.parametrize("space", SPACES)
def test_sizes_and_labels_equal_the_originals_at_every_level(space):
    grammar = examples.grammar(SPACES[space])
    terms = [grammar.parse(text) for text in GOLDEN[space]["ids"]]
    for level in GOLDEN[space]["levels"]:
        number = None if level["level"] == "full" else level["level"]
        found = [published_folding.graph(grammar, term, number) for term in terms]
        assert [len(g.names) for g in found] == level["n_nodes"]
        assert [g.arcs.shape[1] for g in found] == level["n_edges"]
        for g, labels in zip(found, level["label_counts"], strict=True):
            assert Counter(g.labels) == {name.strip(): n for name, n in labels.items()}


def test_cut_graphs_equal_the_originals_where_no_cell_is_open():
    grammar = examples.grammar("hierarchical")
    for text in GOLDEN["variable_multi_multi"]["ids"]:
        term = grammar.parse(text)
        for level in (None, 0, 1):
            cut, published = graph(grammar, term, level), published_folding.graph(grammar, term, level)
            assert alike(network(cut), network(published))


def network(g: Graph) -> nx.DiGraph:
    net = nx.DiGraph()
    net.add_nodes_from((i, {"label": label}) for i, label in enumerate(g.labels))
    net.add_edges_from(zip(*g.arcs.tolist(), strict=True))
    assert net.number_of_edges() == g.arcs.shape[1], "a parallel arc"
    return net


def alike(a: nx.DiGraph, b: nx.DiGraph) -> bool:
    """Whether they have the same labels in the same surroundings, before and behind, to the depth of eight arcs."""
    numbers: dict[tuple, int] = {}
    found = []
    for net in (a, b):
        labels = {n: net.nodes[n]["label"] for n in net}
        for _ in range(8):
            around = {n: (sorted(labels[m] for m in net.pred[n]), sorted(labels[m] for m in net.succ[n])) for n in net}
            labels = {n: numbers.setdefault((labels[n], *map(tuple, around[n])), len(numbers)) for n in net}
        found.append(Counter(labels.values()))
    return found[0] == found[1] and a.number_of_edges() == b.number_of_edges()


def plain(grammar: Grammar, term: Term, level: int | None) -> nx.DiGraph:
    """The graph from its definition: all edges flattened into one graph, id edges contracted one by one, each filled
    edge a node, and the nodes that no path meets dropped."""
    edges, counter = [], iter(range(10**6))

    def flatten(child, tail, head, depth):
        if isinstance(child, str) or not child.children:
            edges.append((tail, head, child if isinstance(child, str) else child.head))
        elif level is not None and depth > level:
            edges.append((tail, head, f"{child.symbol} {child.head}"))
        else:
            topology = grammar.topologies[child.head]
            nodes = {topology.source: tail, topology.sink: head}
            for edge, inner in zip(topology.edges, child.children, strict=True):
                for node in (edge.tail, edge.head):
                    if node not in nodes:
                        nodes[node] = f"n{next(counter)}"
                flatten(inner, nodes[edge.tail], nodes[edge.head], depth + 1)

    flatten(term, "source", "sink", 0)
    net = nx.DiGraph()
    net.add_node(INPUT, label=INPUT)
    net.add_node(OUTPUT, label=OUTPUT)
    ops = [(i, *e) for i, e in enumerate(edges) if e[2] != "zero"]
    for i, tail, head, label in ops:
        net.add_node(i, label=label)
        net.add_edges_from((j, i) for j, _, end, _ in ops if end == tail)
        if tail == "source":
            net.add_edge(INPUT, i)
        if head == "sink":
            net.add_edge(i, OUTPUT)
    for i, _, _, label in ops:
        if label == "id":
            net.add_edges_from([(p, s) for p in net.predecessors(i) for s in net.successors(i)])
            net.remove_node(i)
    alive = (nx.descendants(net, INPUT) | {INPUT}) & (nx.ancestors(net, OUTPUT) | {OUTPUT})
    return net.subgraph(alive)


@pytest.mark.parametrize("name", ["cell-based", "hierarchical", "activation"])
@pytest.mark.parametrize("level", [None, 0, 1, 2, 3, 4])
@FEW
@given(seed=SEEDS)
def test_graphs_are_what_their_definition_says(name, level, seed):
    grammar, rng = examples.grammar(name), np.random.default_rng(seed)
    term = grammar.sample(rng)
    graph(grammar, term, level)  # the mutant now shares parts with a term that has its graph
    term = mutate(grammar, term, rng)
    found, expected = graph(grammar, term, level), plain(grammar, term, level)
    assert found.labels[0] == INPUT and found.labels[-1] == OUTPUT
    assert alike(network(found), expected)


def test_zero_is_deleted_id_bypassed_and_dead_ends_pruned():
    grammar = examples.grammar("cell-based")
    # 1-2 conv3x3 leads nowhere: 2-3 and 2-4 are zero; 1-3 is id, 3-4 conv1x1
    term = grammar.parse("Cell(conv3x3, id, zero, zero, zero, conv1x1)")
    found = graph(grammar, term)
    assert found.labels == [INPUT, "conv1x1", OUTPUT]
    assert sorted(zip(*found.arcs.tolist(), strict=True)) == [(0, 1), (1, 2)]
    straight = graph(grammar, grammar.parse("Cell(id, zero, zero, id, id, zero)"))
    assert (straight.labels, straight.arcs.tolist()) == ([INPUT, OUTPUT], [[0], [1]])


def test_levels_go_by_depth():
    """A Linear3 has five nodes at level 0; a CELL under D0 opens one level before a CELL under C."""
    grammar = examples.grammar("hierarchical")
    term = grammar.parse(GOLDEN["variable_multi_multi"]["ids"][0])
    levels = [graph(grammar, term, level) for level in range(max(term.height, 1))]
    assert len(levels) == 6 and levels[0].labels == [INPUT, "D1 Residual3", "D1 Linear3", "D0 Residual3", OUTPUT]
    assert "CELL Cell" in levels[1].labels and "OPS Linear1" in levels[2].labels and "CELL Cell" in levels[2].labels
    assert levels[-1] is graph(grammar, term) is graph(grammar, term, 99)
    sizes = [len(g.names) for g in levels]
    assert sizes[:2] == [5, 13] and sizes[5] == 163


def test_the_published_folding_differs_where_an_operation_leads_nowhere():
    """The operation vanishes in both; in the published one its predecessor is joined to the output as well."""
    grammar = Grammar(
        "L: 1-2 2-3\nT: 1-2 2-3 1-3\nS -> L(A, B)\nA -> T(C, O, O)\nB -> L(C, C)\nC -> L(O, O)\nO -> a | zero"
    )
    term = grammar.parse("L(T(L(a, a), zero, a), L(L(a, a), L(a, a)))")
    cut, published = (f(grammar, term, 1) for f in (graph, published_folding.graph))
    assert cut.labels == [INPUT, "a", "C L", "C L", OUTPUT] and cut.arcs.shape[1] == 4
    assert sorted(published.labels) == sorted(cut.labels) and published.arcs.shape[1] == 5


def test_chosen_tails_make_the_arcs():
    grammar = examples.grammar("DARTS cell")
    ops = ["sep_conv3x3 0", "max_pool3x3 1", "id 2", "sep_conv5x5 0"] + ["id 2", "id 3"] * 2
    children = " ".join(f"(OP {op.split()[0]}) (IN{i // 2 + 1} {op.split()[1]})" for i, op in enumerate(ops))
    found = graph(grammar, grammar.parse(f"(CELL DARTS {children})"))
    names = dict(enumerate(found.labels))
    arcs = {(names[t], names[h]) for t, h in zip(*found.arcs.tolist(), strict=True)}
    assert arcs == {
        (INPUT, "previous1"),
        (INPUT, "previous2"),
        ("previous2", "sep_conv3x3"),
        ("previous1", "max_pool3x3"),
        ("previous2", "sep_conv5x5"),
        ("sep_conv3x3", OUTPUT),
        ("max_pool3x3", OUTPUT),
        ("sep_conv5x5", OUTPUT),
    }
    with pytest.raises(UserError, match="tails are chosen"):
        two = Grammar("L: 1-2\nS -> L(C)\n" + examples.DARTS_CELL.replace("CELL ->", "C ->"))
        published_folding.graph(two, two.sample(np.random.default_rng(0)), 0)


def test_a_term_of_another_grammar_has_no_graph():
    term = examples.grammar("activation").sample(np.random.default_rng(0))
    with pytest.raises(UserError, match="starts at CELL"):
        graph(examples.grammar("cell-based"), term)
