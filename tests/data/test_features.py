"""Vocabularies and statistics come from train, whatever the tables hold."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from recexp.data.features import Encoder
from recexp.data.text import trigrams, words
from recexp.errors import RecexpError
from recexp.types import PAD, Bags, Dataset, Features, Interactions, Numbers

ENCODER = Encoder(None, None, ["text"], ["year"], "words", "train", 1, 100)
USERS = pl.DataFrame(
    {"user": ["ann", "bob", "cat"], "gender": ["f", "m", "x"], "neighbours": [["bob", "cat"], ["ann"], None]}
)
ITEMS = pl.DataFrame(
    {
        "item": [10, 11, 12, 13],
        "text": ["red red fox", "red hen", "blue fox", None],
        "genres": [["a", "b"], ["a"], ["c"], []],
        "price": [1.0, 3.0, 1000.0, None],
        "year": [1999, 2000, 2001, 1999],
        "vector": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], None],
    }
)


def log(user: list[int], item: list[int], device: list[int]) -> Interactions:
    ones, times = np.ones(len(user), np.float32), np.arange(len(user))
    context = np.array(device, np.int32)[:, None]
    return Interactions(np.array(user, np.int32), np.array(item, np.int32), times, ones, ones, context)


TRAIN = log([0, 0, 1], [0, 1, 0], [0, 2, PAD])
HELD_OUT = log([1, 1, 2, 2, 2], [2, 1, 3, 2, 0], [1, 2, 3, 3, 3])  # alone have user 2, items 2, 3 and devices 1, 3
DATA = Dataset(
    "toy",
    Interactions.concat(TRAIN, HELD_OUT),
    USERS,
    ITEMS,
    context={"device": ["pad", "phone", "tv", "watch"]},
)


def bag(column: Bags | Numbers, row: int) -> dict[int, float]:
    assert isinstance(column, Bags)
    begin, end = column.offsets[row : row + 2].tolist()
    return dict(zip(column.tokens[begin:end].tolist(), column.weights[begin:end].tolist(), strict=True))


def test_what_train_has_not_is_no_token() -> None:
    features = ENCODER(DATA, TRAIN)
    assert features.items["text"].size == 3  # red fox hen; blue is in no item of train
    assert features.items["genres"].size == 2
    assert features.users["gender"].size == 2
    assert features.items["year"].size == 2
    assert bag(features.users["gender"], 2) == {}
    assert bag(features.items["genres"], 2) == {}
    assert len(bag(features.items["text"], 2)) == 1


def test_unknown_users_and_items_have_no_id() -> None:
    features = ENCODER(DATA, TRAIN)
    assert [bag(features.items["id"], row) for row in range(4)] == [{0: 1.0}, {1: 1.0}, {}, {}]
    assert [bag(features.users["id"], row) for row in range(3)] == [{0: 1.0}, {1: 1.0}, {}]


def test_circumstances_that_train_has_not_are_unknown() -> None:
    device = ENCODER(DATA, TRAIN).context["device"]
    assert [bag(device, row) for row in range(4)] == [{0: 1.0}, {}, {2: 1.0}, {}]


def test_ids_of_histories_are_those_of_train_whatever_items_have() -> None:
    features = replace(ENCODER, items=["price"])(DATA, TRAIN)
    for one in (features, Features.of(features.tensors())):
        assert list(one.items) == ["price"]
        assert [bag(one.events["id"], row) for row in range(4)] == [{0: 1.0}, {1: 1.0}, {}, {}]
    assert ENCODER(DATA, TRAIN).events == {}


def test_text_weighs_count_times_idf_in_length_1() -> None:
    text = ENCODER(DATA, TRAIN).items["text"]
    idf = {"red": np.log(3 / 3) + 1, "fox": np.log(3 / 2) + 1}
    raw = np.array([2 * idf["red"], idf["fox"]])
    assert list(bag(text, 0).values()) == pytest.approx(raw / np.linalg.norm(raw), rel=1e-6)


def test_numbers_are_scaled_by_train() -> None:
    price = ENCODER(DATA, TRAIN).items["price"]
    assert isinstance(price, Numbers)
    assert price.values[:, 0].tolist() == [-1.0, 1.0, 998.0, 0.0]


def test_vectors_are_taken_as_they_are() -> None:
    vector = ENCODER(DATA, TRAIN).items["vector"]
    assert isinstance(vector, Numbers)
    assert vector.values.tolist() == [[1, 2], [3, 4], [5, 6], [0, 0]]


def test_popularity_counts_train_alone() -> None:
    features = replace(ENCODER, items=["popularity"])(DATA, TRAIN)
    popularity = features.items["popularity"]
    assert isinstance(popularity, Numbers)
    logs = np.log1p([2, 1])
    assert popularity.values[:2, 0].numpy() == pytest.approx((logs - logs.mean()) / logs.std(), rel=1e-5)
    assert popularity.values[2:, 0].tolist() == [0, 0]  # unknown: training shows no item without events


def test_neighbours_bring_what_they_met_in_train() -> None:
    features = replace(ENCODER, users=["neighbours"])(DATA, TRAIN)
    neighbours = features.users["neighbours"]
    assert bag(neighbours, 0) == {0: 1.0}  # bob met item 0 in train, 1 and 2 later; cat met nothing in train
    assert bag(neighbours, 1) == pytest.approx({0: 0.5**0.5, 1: 0.5**0.5})
    assert bag(neighbours, 2) == {}


def neighbours_of(users: list, named: list, row: int) -> dict[int, float]:
    table = pl.DataFrame({"user": users, "neighbours": named}, strict=False)
    return bag(replace(ENCODER, users=["neighbours"])(replace(DATA, users=table), TRAIN).users["neighbours"], row)


def test_nobody_is_a_neighbour_of_their_own() -> None:
    assert neighbours_of([1, 2, 3], [[1, 2], [2], None], 0) == {0: 1.0}
    assert neighbours_of([1, 2, 3], [[1, 2], [2], None], 1) == {}


@pytest.mark.parametrize("named", [[[2.0, 9.0], [1.0]], [[2.0, None], [1.0]], [["2"], ["9"]], [2.0, 1.0], ["2", "x"]])
def test_neighbours_are_read_as_ids_are(named: list) -> None:
    assert neighbours_of([1, 2, 3], [*named, None], 0) == {0: 1.0}


def test_neighbours_that_nobody_is() -> None:
    said = r"none of the 2 neighbours .* look like 2\|1, 1\|3, users like 1, 2, 3. Give each user a list .*\(jsonl"
    with pytest.raises(RecexpError, match=said):
        neighbours_of([1, 2, 3], ["2|1", "1|3", None], 0)
    assert neighbours_of([1, 2, 3], [[], None, []], 0) == {}


def test_items_may_have_neighbours_of_another_kind() -> None:
    data = replace(DATA, items=ITEMS.with_columns(neighbours=pl.Series([1.0, 3.0, 5.0, None])))
    column = ENCODER(data, TRAIN).items["neighbours"]
    assert isinstance(column, Numbers)
    assert column.values[:, 0].tolist() == [-1.0, 1.0, 3.0, 0.0]


@pytest.mark.parametrize(("side", "name"), [("users", "id"), ("items", "id"), ("items", "popularity")])
def test_names_that_stand_for_something_else(side: str, name: str) -> None:
    table = getattr(DATA, side)
    data = replace(DATA, **{side: table.with_columns(pl.lit("x").alias(name))})
    complaint = rf"the table of {side} has a column '{name}', and model.features.{side} calls .* so. Give .* name"
    for wanted in (None, [name]):
        with pytest.raises(RecexpError, match=complaint):
            replace(ENCODER, **{side: wanted})(data, TRAIN)
    replace(ENCODER, **{side: [table.columns[1]]})(data, TRAIN)  # nobody asks for it


def test_the_most_frequent_tokens_are_kept() -> None:
    features = replace(ENCODER, max_size=1)(DATA, TRAIN)
    assert features.items["text"].size == 1
    assert bag(features.items["text"], 0) == {0: 1.0}  # red: the only word of two items
    assert bag(features.items["text"], 2) == {}
    assert replace(ENCODER, min_count=2)(DATA, TRAIN).items["text"].size == 1


def test_hashed_tokens_have_places_that_do_not_move() -> None:
    hashed = replace(ENCODER, vocabulary="hashed", max_size=50)
    once, again = (hashed(DATA, TRAIN).items["text"] for _ in range(2))
    assert once.size <= 50
    assert [bag(once, row) for row in range(4)] == [bag(again, row) for row in range(4)]


def test_nothing_of_the_holdout_changes_train() -> None:
    changed = replace(DATA, items=ITEMS.with_columns(price=pl.Series([1.0, 3.0, -7.0, 8.0])))
    one, two = (ENCODER(data, TRAIN).items["price"] for data in (DATA, changed))
    assert one.values[:2].tolist() == two.values[:2].tolist()


def test_features_survive_their_file() -> None:
    features = ENCODER(DATA, TRAIN)
    again = Features.of(features.tensors())
    assert list(again.items) == list(features.items)
    assert list(again.users) == list(features.users)
    assert (again.num_users, again.num_items) == (3, 4)
    assert [bag(again.items["text"], row) for row in range(4)] == [bag(features.items["text"], r) for r in range(4)]


NESTED = "allowed: texts, numbers, times, lists .* in model.features.items"


@pytest.mark.parametrize(
    ("column", "complaint"),
    [
        ([[1.0], [1.0, 2.0], [3.0, 4.0], None], "'own': the vector of item 10 has length 1; expected 2, as of most"),
        ([[1.0, 2.0], [], [3.0, 4.0], None], "'own': the vector of item 11 has length 0; expected 2.* give null"),
        ([[1.0, 2.0], [], [], None], "'own': the vector of item 11 has length 0; expected 2.* give null"),
        ([[1.0, 2.0], None, [3.0, None], None], "'own': the vector of item 12 has a number that is missing"),
        ([[1.0, 2.0], None, None, [float("nan"), 1.0]], "'own': the vector of item 13 has a number that is .* NaN"),
        ([[1.0, 2.0], [1e300, 2.0], None, None], "'own': the vector of item 11 has a number that is .* too large"),
        ([{"a": 1}, {"a": 2}, None, None], rf"'own' of items holds Struct.*; {NESTED}"),
        ([[["a"]], [["b"]], None, None], rf"'own' of items holds List\(List\(String\)\); {NESTED}"),
        ([b"a", b"b", None, None], rf"'own' of items holds Binary; {NESTED}"),
    ],
)
def test_impossible_columns(column: list, complaint: str) -> None:
    data = replace(DATA, items=ITEMS.with_columns(own=pl.Series(column)))
    with pytest.raises(RecexpError, match=complaint):
        ENCODER(data, TRAIN)
    replace(ENCODER, items=["price"])(data, TRAIN)  # nobody asks for it


def test_vectors_of_arrays_and_of_nobody() -> None:
    arrays = pl.Series([[1, 2], None, [3, 4], [5, 6]], dtype=pl.Array(pl.Int64, 2))
    nothing = pl.Series([None, [], None, []], dtype=pl.List(pl.Float64))
    features = ENCODER(replace(DATA, items=ITEMS.with_columns(own=arrays, none=nothing)), TRAIN)
    own, none = features.items["own"], features.items["none"]
    assert isinstance(own, Numbers)
    assert isinstance(none, Numbers)
    assert own.values.tolist() == [[1, 2], [0, 0], [3, 4], [5, 6]]
    assert none.values.shape == (4, 0)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"items": ["genre"]},
            r"model.features.items: the data has no column 'genre'; it has: genres.*items=\[genres\]",
        ),
        ({"users": ["age"]}, "model.features.users: the data has no column 'age'"),
        ({"tokens": "word"}, "model.features.tokens=word is unknown; allowed: words, trigrams"),
        ({"vocabulary": "hash"}, "model.features.vocabulary=hash is unknown; allowed: hashed"),
    ],
)
def test_impossible_wishes(change: dict, complaint: str) -> None:
    with pytest.raises(RecexpError, match=complaint):
        replace(ENCODER, **change)(DATA, TRAIN)


def test_words_and_trigrams() -> None:
    texts = pl.Series(["Good day!", None, "", "É"])
    assert words(texts).to_list() == [["good", "day"], [], [], ["é"]]
    assert trigrams(texts).to_list() == [["#go", "goo", "ood", "od#", "#da", "day", "ay#"], [], [], ["#é#"]]


@pytest.mark.parametrize("vocabulary", ["train", "hashed"])
def test_a_vocabulary_comes_back_from_its_table(vocabulary: str) -> None:
    encoder = replace(ENCODER, tokens="trigrams", vocabulary=vocabulary)
    fitted = encoder.fit(DATA, TRAIN)
    again = encoder.learned(fitted.table())
    assert again.users.keys() == {"gender"}
    assert again.items.keys() == {"text", "genres", "price", "year", "vector"}
    tensors, others = (encoder.encode(one, DATA, TRAIN).tensors() for one in (fitted, again))
    assert tensors.keys() == others.keys()
    assert all(torch.equal(tensors[name], others[name]) for name in tensors)


def test_who_comes_later_is_encoded_as_one_whom_training_never_saw() -> None:
    """Those of before stay; a copy of a user or an item that train has not gets the same row."""
    users = pl.concat([USERS, USERS[2:]])
    described = ITEMS.with_columns(code=pl.Series([[1, 2]] * 4, dtype=pl.Array(pl.Int64, 2)))
    items = pl.concat([described, described[1:3]])
    encoder = replace(ENCODER, items=["id", "popularity", "text", "genres", "price", "year", "vector", "code"])
    data = replace(DATA, items=described)
    before, fitted = encoder(data, TRAIN), encoder.fit(data, TRAIN)
    after = encoder.encode_more(before, fitted, replace(DATA, users=users, items=items), {})
    assert (after.num_users, after.num_items) == (4, 6)
    for side in ("users", "items", "events"):
        for name, was in getattr(before, side).items():
            now = getattr(after, side)[name]
            assert now.size == was.size if isinstance(was, Bags) else now.values.shape[1] == was.values.shape[1]
            assert all(bag_or_row(now, row) == bag_or_row(was, row) for row in range(len(was)))
    assert all(bag_or_row(one, 3) == bag_or_row(one, 2) for one in after.users.values())
    assert bag(after.items["id"], 4) == {}
    assert bag_or_row(after.items["popularity"], 4) == [0.0]
    for name in ("text", "genres", "price", "year", "vector", "code"):
        assert bag_or_row(after.items[name], 4) == bag_or_row(after.items[name], 1)
        assert bag_or_row(after.items[name], 5) == bag_or_row(after.items[name], 2)


def bag_or_row(column: Bags | Numbers, row: int) -> object:
    return bag(column, row) if isinstance(column, Bags) else column.values[row].tolist()


def test_items_that_came_later_are_nothing_in_a_history_without_ids_of_items() -> None:
    encoder = replace(ENCODER, items=["price"])
    before, fitted = encoder(DATA, TRAIN), encoder.fit(DATA, TRAIN)
    after = encoder.encode_more(before, fitted, replace(DATA, items=pl.concat([ITEMS, ITEMS[:1]])), {})
    assert [bag(after.events["id"], row) for row in range(5)] == [{0: 1.0}, {1: 1.0}, {}, {}, {}]


def test_rows_of_before_may_be_encoded_again() -> None:
    encoder = replace(ENCODER, items=["id", "popularity", "text", "price"])
    blank = ITEMS.with_columns(pl.when(pl.col("item") != 11).then(pl.col("text", "price")))
    fitted = encoder.fit(DATA, TRAIN)
    before = encoder.encode(fitted, replace(DATA, items=blank), TRAIN)
    assert bag(before.items["text"], 1) == {}
    after = encoder.encode_more(before, fitted, DATA, {"items": np.array([1])})
    assert bag(after.items["text"], 1) == bag(encoder(DATA, TRAIN).items["text"], 1)
    assert bag(after.items["id"], 1) == {1: 1.0}
    assert bag_or_row(after.items["popularity"], 1) == bag_or_row(before.items["popularity"], 1) != [0.0]
    assert all(bag_or_row(after.items[name], row) == bag_or_row(before.items[name], row)
               for name in after.items for row in (0, 2, 3))  # fmt: skip


def test_a_whole_number_is_one_category_however_it_is_written() -> None:
    whole = ITEMS.with_columns(year=pl.Series([1999.0, 2000.0, 2001.0, None]))
    column = replace(ENCODER, items=["year"]).fit(replace(DATA, items=whole), TRAIN).items["year"]
    written = [
        pl.Series([1999, 2000]),
        pl.Series([1999.0, 2000.0]),
        pl.Series(["1999", "2000"]),
        pl.Series([1999.0, 2000.5]),
    ]
    assert [bag(column.encode(values), 0) for values in written] == [{0: 1.0}] * 4
    assert bag(column.encode(written[3]), 1) == {}
