"""DSSM is its equations over multi-hot vectors, and never makes one."""

from __future__ import annotations

import resource
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F

from recexp.model.dssm import DSSM
from recexp.types import PAD, Bags, Features, Numbers, Query

MANY = 100_000


def multi_hot(bags: Bags) -> torch.Tensor:
    x_RV = torch.zeros(len(bags), bags.size)
    for row in range(len(bags)):
        part = slice(int(bags.offsets[row]), int(bags.offsets[row + 1]))
        x_RV[row].index_add_(0, bags.tokens[part], bags.weights[part])
    return x_RV


def bags(rows: int, size: int, length: int) -> Bags:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(size, (rows * length,), generator=generator)
    weights = torch.rand(rows * length, generator=generator)
    return Bags(torch.arange(0, rows * length + 1, length), tokens, weights, size)


def test_it_is_the_equations_of_the_paper() -> None:
    words, price = bags(6, 9, 4), Numbers(torch.randn(6, 2))
    features = Features({"id": Bags.single(np.arange(4), 4)}, {"text": words, "price": price}, 4, 6)
    torch.manual_seed(0)
    model = DSSM(5, [7, 6], 10, 0.5, features).eval()
    document = model.document
    l_1 = multi_hot(words) @ document.columns["column_0"].table + price.values @ document.maps[1].weight.T
    l_1 = torch.tanh(l_1 + model.document_layers[0].b)
    l_2 = torch.tanh(model.document_layers[2](l_1))
    y_ID = F.normalize(torch.tanh(model.document_layers[4](l_2)), dim=-1)
    torch.testing.assert_close(model.encode_items(torch.arange(6)), y_ID)
    query = Query.from_histories([[1, 1, 3]], [2])
    x_V = multi_hot(words)[[1, 1, 3]].mean(0) @ model.event.columns["column_0"].table
    x_V = x_V + price.values[[1, 1, 3]].mean(0) @ model.event.maps[1].weight.T + model.user.columns["column_0"].table[2]
    l_1 = torch.tanh(x_V + model.query_layers[0].b)
    y_D = F.normalize(torch.tanh(model.query_layers[4](torch.tanh(model.query_layers[2](l_1)))), dim=-1)
    torch.testing.assert_close(model.encode_query(query)[0], y_D)
    torch.testing.assert_close(model.score(query)[0], y_ID @ y_D)


def test_a_user_that_training_never_saw_is_known_by_their_features() -> None:
    users = {"id": Bags.single(np.array([0, PAD]), 2), "age": Numbers(torch.tensor([[1.0], [3.0]]))}
    model = DSSM(5, [7], 10, 0.5, Features(users, {"text": bags(6, 9, 4)}, 2, 6)).eval()
    nobody = Query.from_histories([[1]])
    somebody = replace(nobody, profiles=torch.tensor([1]))
    assert not torch.allclose(model.encode_query(somebody), model.encode_query(nobody))


def test_bags_of_a_large_vocabulary_stay_sparse() -> None:
    """Dense, the multi-hot items alone would take 40 GB."""
    features = Features({"id": Bags.single(np.arange(10), 10)}, {"text": bags(MANY, MANY, 20)}, 10, MANY)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = DSSM(8, [8], 10, 0.1, features)
    query = Query.from_histories([torch.randint(MANY, (10,)).tolist() for _ in range(64)])
    loss = model(query, torch.randint(MANY, (64, 9))).logsumexp(1).sum()
    loss.backward()
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mb < 300
    assert all(parameter.grad is not None for parameter in model.event.parameters())
