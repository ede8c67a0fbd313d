"""Items with any JSON in them are in DynamoDB without a loss."""

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from headrace.event import jsontext
from headrace.table.base import Item
from headrace.table.dynamodb_item import attributes_of, item_of

numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,45})(\.[0-9]{1,45})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"])).map(lambda text: jsontext.encode(text).decode())
scalars = numbers | texts | st.sampled_from(["true", "false", "null", '"\\u00e9\\/"', "{}", "[]"])
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda each: f"[{','.join(each)}]")
        | st.lists(st.tuples(texts, inner), max_size=3).map(lambda each: f"{{{','.join(map(':'.join, each))}}}")
    ),
    max_leaves=8,
)
members = st.dictionaries(st.sampled_from(["a", "b", "é", "x y", '"']), values)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(members, st.none() | st.integers(0, 2**40))
@example({"a": "[" * 400 + "]" * 400}, None)
def test_nothing_is_lost(of_item: dict[str, str], expires_at: int | None) -> None:
    text = ",".join(f"{jsontext.encode(name).decode()}:{value}" for name, value in of_item.items())
    item = Item("d", "s", f"{{{text}}}".encode(), expires_at)
    assert item_of(attributes_of(item)) == item
