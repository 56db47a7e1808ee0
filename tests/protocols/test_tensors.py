"""Layouts: what goes in comes out, what does not fit is named."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from protocols.errors import WrongUpdate
from protocols.tensors import FLOATING, INTEGERS, Container, Kind, Layout, Slot, model_digest

NUMPY_FLOATS = [np.dtype(name) for name in ("float16", "float32", "float64")]
TORCH_FLOATS = list(FLOATING)


def torch() -> Any:
    return pytest.importorskip("torch", reason="extra 'torch' is not installed")


def array_of(dtype: np.dtype[Any]) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    return hnp.arrays(
        dtype,
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        elements=hnp.from_dtype(dtype, allow_nan=False, allow_infinity=False),
    )


arrays = st.sampled_from(NUMPY_FLOATS).flatmap(array_of)
lists = st.lists(arrays, min_size=1, max_size=4).filter(lambda found: sum(a.size for a in found) > 0)


def same(one: np.ndarray[Any, Any], two: np.ndarray[Any, Any]) -> bool:
    return one.dtype == two.dtype and one.shape == two.shape and bool(np.array_equal(one, two))


# Known answers


def test_the_flat_vector_is_the_arrays_in_order() -> None:
    update = [np.array([[1, 2], [3, 4]], np.float32), np.array(5, np.float32), np.zeros((0, 3), np.float32)]
    assert Layout.of(update).flatten(update).tolist() == [1, 2, 3, 4, 5]
    assert Layout.of(update).length == 5


def test_a_layout_says_names_shapes_and_dtypes() -> None:
    layout = Layout.of({"w": np.zeros((2, 3), np.float32), "b": np.zeros(3, np.float64)})
    assert layout == Layout(
        Container.MAPPING,
        (Slot("w", (2, 3), "float32", Kind.NUMPY), Slot("b", (3,), "float64", Kind.NUMPY)),
    )


def test_the_vector_is_float64_only_where_an_array_is() -> None:
    half, double = np.ones(1, np.float16), np.ones(1, np.float64)
    assert Layout.of([half]).flatten([half]).dtype == np.float32
    assert Layout.of([half, double]).flatten([half, double]).dtype == np.float64


def test_returning_rounds_to_nearest_in_each_dtype() -> None:
    layout = Layout.of([np.zeros(1, np.float16), np.zeros(1, np.float32), np.zeros(1, np.float64)])
    half, single, double = layout.unflatten(np.full(3, 0.1))
    assert (float(half[0]), float(single[0]), float(double[0])) == (0.0999755859375, 0.10000000149011612, 0.1)


def test_a_mean_is_the_mean_of_every_array() -> None:
    one, two = {"w": np.array([1.0, 2.0])}, {"w": np.array([3.0, 6.0])}
    layout = Layout.of(one)
    mean = layout.unflatten((layout.flatten(one) + layout.flatten(two)) / 2)
    assert mean["w"].tolist() == [2.0, 4.0]


# Properties


@given(lists)
def test_a_list_of_arrays_comes_back_unchanged(update: list[np.ndarray[Any, Any]]) -> None:
    layout = Layout.of(update)
    back = layout.unflatten(layout.flatten(update).astype(np.float64))
    assert isinstance(back, list)
    assert all(same(*pair) for pair in zip(update, back, strict=True))


@given(lists)
def test_a_dict_comes_back_unchanged(found: list[np.ndarray[Any, Any]]) -> None:
    update = {f"layer.{place}": array for place, array in enumerate(found)}
    layout = Layout.of(update)
    back = layout.unflatten(layout.flatten(update).astype(np.float64))
    assert list(back) == list(update)
    assert all(same(update[name], back[name]) for name in update)


@given(lists)
def test_the_order_of_a_dict_does_not_matter(found: list[np.ndarray[Any, Any]]) -> None:
    update = {f"layer.{place}": array for place, array in enumerate(found)}
    layout = Layout.of(update)
    backwards = dict(reversed(update.items()))
    assert np.array_equal(layout.flatten(backwards), layout.flatten(update))


@pytest.mark.parametrize("dtype", TORCH_FLOATS)
def test_a_state_dict_comes_back_unchanged(dtype: str) -> None:
    th = torch()
    generator = th.Generator().manual_seed(1)
    update = {
        "weight": th.randn(3, 2, generator=generator).to(getattr(th, dtype)),
        "bias": th.randn(2, generator=generator).to(getattr(th, dtype)),
        "scale": th.tensor(1.5, dtype=getattr(th, dtype)),
    }
    layout = Layout.of(update)
    back = layout.unflatten(layout.flatten(update).astype(np.float64))
    assert list(back) == list(update)
    for name, tensor in update.items():
        assert back[name].dtype == tensor.dtype
        assert th.equal(back[name], tensor)


def test_a_module_loads_what_comes_back() -> None:
    th = torch()
    module = th.nn.Sequential(th.nn.Linear(4, 3), th.nn.ReLU(), th.nn.Linear(3, 2))
    update = module.state_dict()
    layout = Layout.of(update)
    module.load_state_dict(layout.unflatten(layout.flatten(update)))
    assert layout.length == 4 * 3 + 3 + 3 * 2 + 2


def test_torch_and_numpy_of_one_model_are_one_layout() -> None:
    th = torch()
    tensors, numbers = {"w": th.ones(2, 3)}, {"w": np.ones((2, 3), np.float32)}
    assert Layout.of(tensors).digest() == Layout.of(numbers).digest()
    assert Layout.of(tensors).flatten(numbers).tolist() == [1.0] * 6


@pytest.mark.parametrize(
    "other",
    [
        {"v": np.zeros((2, 3), np.float32)},
        {"w": np.zeros((3, 2), np.float32)},
        {"w": np.zeros((2, 3), np.float64)},
        [np.zeros((2, 3), np.float32)],
        {"w": np.zeros((2, 3), np.float32), "": np.zeros(0, np.float32)},
    ],
    ids=["name", "shape", "dtype", "container", "extra"],
)
def test_the_digest_tells_layouts_apart(other: Any) -> None:
    assert Layout.of(other).digest() != Layout.of({"w": np.zeros((2, 3), np.float32)}).digest()


def test_the_digest_is_32_bytes_and_does_not_depend_on_the_numbers() -> None:
    digest = Layout.of([np.zeros(3)]).digest()
    assert len(digest) == 32
    assert digest == Layout.of([np.ones(3)]).digest()


def test_the_digest_of_a_model_changes_with_one_bit() -> None:
    model = [np.zeros(3), np.ones(2)]
    other = [np.zeros(3), np.array([1.0, np.nextafter(1.0, 2.0)])]
    assert model_digest(model) == model_digest([array.copy() for array in model])
    assert model_digest(model) != model_digest(other)


@pytest.mark.parametrize(
    "odd",
    [
        np.arange(6.0).reshape(2, 3)[:, ::-1],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(6.0, dtype=">f8"),
    ],
    ids=["strided", "fortran", "big-endian"],
)
def test_memory_order_does_not_matter(odd: np.ndarray[Any, Any]) -> None:
    layout = Layout.of([odd])
    vector = layout.flatten([odd])
    assert vector.tolist() == odd.ravel(order="C").tolist()
    assert layout.unflatten(vector)[0].tolist() == odd.tolist()


def test_a_tensor_that_wants_gradients_is_read_without_them() -> None:
    th = torch()
    update = [th.ones(2, requires_grad=True)]
    back = Layout.of(update).unflatten(Layout.of(update).flatten(update))
    assert not back[0].requires_grad


def test_what_comes_back_shares_no_memory_with_the_vector() -> None:
    layout = Layout.of([np.zeros(2), np.zeros(1)])
    vector = np.ones(3)
    back = layout.unflatten(vector)
    vector[:] = 7
    assert back[0].tolist() == [1.0, 1.0]


# What stays


def batch_normed() -> Any:
    th = torch()
    module = th.nn.Sequential(th.nn.Linear(3, 2), th.nn.BatchNorm1d(2))
    module[1].num_batches_tracked += 7
    return module


def test_running_means_travel_and_a_batch_counter_stays() -> None:
    state = batch_normed().state_dict()
    layout = Layout.of(state)
    assert layout.kept == ("1.num_batches_tracked",)
    assert layout.length == 3 * 2 + 2 + 2 + 2 + 2 + 2
    assert layout.flatten(state).shape == (16,)


def test_the_server_puts_its_own_counter_back() -> None:
    module = batch_normed()
    layout = Layout.of(module.state_dict())
    moved = layout.moved(module.state_dict(), np.full(layout.length, 0.5))
    assert list(moved) == list(module.state_dict())
    assert int(moved["1.num_batches_tracked"]) == 7
    assert moved["1.running_var"].tolist() == [1.5, 1.5]
    module.load_state_dict(moved)


def test_a_client_need_not_send_what_is_kept_and_its_own_is_ignored() -> None:
    model = {"w": np.ones(2), "steps": np.array(3)}
    layout = Layout.of(model)
    assert layout.flatten({"w": np.ones(2)}).tolist() == [1.0, 1.0]
    assert layout.flatten({"w": np.ones(2), "steps": np.array([9, 9], np.int8)}).tolist() == [1.0, 1.0]
    assert list(layout.unflatten(np.zeros(2))) == ["w"]
    assert layout.unflatten(np.zeros(2), like=model)["steps"] == 3


def test_running_statistics_stay_where_the_pattern_says_so() -> None:
    state = batch_normed().state_dict()
    layout = Layout.of(state, keep="*.running_*")
    assert layout.kept == ("1.running_mean", "1.running_var", "1.num_batches_tracked")
    assert layout.length == 3 * 2 + 2 + 2 + 2
    assert layout.moved(state, np.ones(layout.length))["1.running_var"].tolist() == [1.0, 1.0]


def test_low_rank_adapters_alone_travel_where_the_rest_is_kept() -> None:
    model = {"base.weight": np.ones((4, 4)), "lora_a": np.ones((4, 1)), "lora_b": np.ones((1, 4))}
    layout = Layout.of(model, keep=["base.*"])
    assert (layout.length, layout.kept) == (8, ("base.weight",))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_of_a_dict_are_kept_and_refused_where_that_is_asked_for(dtype: str) -> None:
    model = {"w": np.ones(2), "n": np.zeros(2, dtype)}
    assert Layout.of(model).kept == ("n",)
    with pytest.raises(WrongUpdate, match=f"array 'n' is {dtype}: .*leave it out"):
        Layout.of(model, integers="refuse")


def test_a_policy_for_integers_that_does_not_exist_is_named() -> None:
    with pytest.raises(WrongUpdate, match="integers is 'round', it must be one of"):
        Layout.of({"w": np.ones(2)}, integers="round")


def test_a_pattern_that_keeps_nothing_is_a_typing_error() -> None:
    with pytest.raises(WrongUpdate, match=r"keep='\*\.runing_\*' matches no array"):
        Layout.of(batch_normed().state_dict(), keep="*.runing_*")


def test_a_model_of_which_nothing_travels_is_refused() -> None:
    with pytest.raises(WrongUpdate, match="no numbers"):
        Layout.of({"w": np.ones(2)}, keep="*")
    with pytest.raises(WrongUpdate, match="no numbers"):
        Layout.of({"n": np.zeros(2, np.int64)})


def test_what_is_kept_cannot_be_put_back_from_a_model_without_it() -> None:
    layout = Layout.of({"w": np.ones(2), "n": np.array(1)})
    with pytest.raises(WrongUpdate, match="array 'n' is kept, and the model to keep it from has none"):
        layout.unflatten(np.zeros(2), like={"w": np.ones(2)})


def test_what_stays_is_part_of_the_digest() -> None:
    model = {"w": np.ones(2), "v": np.ones(2), "n": np.array(1)}
    digests = {Layout.of(model).digest(), Layout.of(model, keep="v").digest(), Layout.of(model, keep="w").digest()}
    digests.add(Layout.of({name: model[name] for name in ("w", "v")}).digest())
    assert len(digests) == 4


def test_the_digest_of_a_model_changes_with_its_counters() -> None:
    one, two = ({"w": np.ones(2), "n": np.array(count)} for count in (1, 2))
    assert model_digest(one) != model_digest(two)


# What is tied


def tied_module() -> Any:
    th = torch()
    module = th.nn.Sequential(th.nn.Embedding(5, 3), th.nn.Linear(3, 5, bias=False))
    module[1].weight = module[0].weight
    return module


def test_a_tied_embedding_travels_once_and_comes_back_under_both_names() -> None:
    module = tied_module()
    state = module.state_dict()
    layout = Layout.of(state)
    assert layout.length == 15
    assert [slot.tied for slot in layout.slots] == [None, "0.weight"]
    back = layout.moved(state, np.ones(15))
    assert list(back) == ["0.weight", "1.weight"]
    assert torch().equal(back["0.weight"], back["1.weight"])
    assert torch().allclose(back["0.weight"], state["0.weight"] + 1)
    module.load_state_dict(back)


def test_an_update_of_a_tied_model_need_not_be_tied_but_equal() -> None:
    layout = Layout.of(tied_module().state_dict())
    one = np.arange(15, dtype=np.float32).reshape(5, 3)
    assert layout.flatten({"0.weight": one, "1.weight": one.copy()}).tolist() == list(range(15))
    with pytest.raises(WrongUpdate, match=r"'1\.weight' and '0\.weight' are one array in the layout"):
        layout.flatten({"0.weight": one, "1.weight": one + 1})


def test_arrays_that_overlap_without_being_one_are_two() -> None:
    whole = np.arange(6.0)
    model = {"all": whole, "head": whole[:3], "same": whole, "backwards": whole[::-1]}
    assert [slot.tied for slot in Layout.of(model).slots] == [None, None, "all", None]
    assert Layout.of(model).flatten(model).tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 5, 4, 3, 2, 1, 0]


def test_an_update_whose_arrays_are_one_by_chance_has_a_layout_of_two() -> None:
    zero = np.zeros(2)
    assert Layout.of_update({"w": zero, "b": zero}).length == 4


def test_a_tie_is_part_of_the_digest() -> None:
    one = np.ones(2)
    assert Layout.of({"w": one, "v": one}).digest() != Layout.of({"w": one, "v": one.copy()}).digest()


def test_moving_adds_in_float64_and_rounds_once() -> None:
    # In float32, 1 + 2^-25 * 3 is rounded after one addition, not after two.
    layout = Layout.of([np.ones(1, np.float32)])
    (moved,) = layout.moved([np.ones(1, np.float32)], np.full(1, 1.5 * 2.0**-24))
    assert moved.dtype == np.float32
    assert float(moved[0]) == 1 + 2.0**-23


def test_moving_by_a_vector_that_could_be_broadcast_is_refused() -> None:
    with pytest.raises(WrongUpdate, match=r"expected 3 numbers, got shape \(1,\)"):
        Layout.of([np.ones(3)]).moved([np.ones(3)], np.ones(1))


def test_flattening_needs_one_vector_of_memory() -> None:
    update = [np.ones(1 << 18, np.float32) for _ in range(16)]
    layout = Layout.of(update)
    tracemalloc.start()
    layout.flatten(update)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * layout.length + 2 * 2**20


def test_torch_is_not_imported_for_numpy() -> None:
    code = (
        "import sys, numpy, protocols.tensors as t; u = [numpy.ones(2)];"
        "t.Layout.of(u).unflatten(t.Layout.of(u).flatten(u)); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Errors


@pytest.mark.parametrize("nothing", [{}, [], (), [np.zeros(0)], {"w": np.zeros((3, 0))}])
def test_an_update_without_numbers_is_refused(nothing: Any) -> None:
    with pytest.raises(WrongUpdate, match="no numbers"):
        Layout.of(nothing)


@pytest.mark.parametrize("other", [np.zeros(3), 1.0, "weights", b"weights", None, {1.0}])
def test_what_is_no_container_is_refused(other: Any) -> None:
    with pytest.raises(WrongUpdate, match="state_dict or a list of arrays"):
        Layout.of(other)


@pytest.mark.parametrize("value", [1.0, [1.0, 2.0], "1", None])
def test_what_is_no_array_is_refused_by_name(value: Any) -> None:
    with pytest.raises(WrongUpdate, match=r"array 'w' is a \w+, expected a numpy array or a torch tensor"):
        Layout.of({"w": value})


@pytest.mark.parametrize("dtype", ["complex64", "longdouble", "object", "S3"])
def test_what_has_no_floating_mean_is_refused_by_name(dtype: str) -> None:
    with pytest.raises(WrongUpdate, match=r"array 'w' is .*leave it out"):
        Layout.of({"b": np.zeros(2), "w": np.zeros(2, dtype)})


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint8", "bool"])
def test_integers_of_a_list_are_refused_for_places_would_shift(dtype: str) -> None:
    with pytest.raises(WrongUpdate, match=r"array '1' is .*leave it out"):
        Layout.of([np.zeros(2), np.zeros(2, dtype)])


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(WrongUpdate, match="1 is a int"):
        Layout.of({1: np.zeros(2), "1": np.ones(2)})


def test_a_masked_array_is_refused() -> None:
    with pytest.raises(WrongUpdate, match="'0' is a masked array"):
        Layout.of([np.ma.masked_array([1.0, 2.0], [True, False])])


@pytest.mark.parametrize("form", ["sparse", "meta"])
def test_a_tensor_without_dense_values_is_refused(form: str) -> None:
    th = torch()
    tensor = th.eye(2).to_sparse() if form == "sparse" else th.zeros(2, device="meta")
    with pytest.raises(WrongUpdate, match="'0' is a sparse or meta tensor"):
        Layout.of([tensor])


def test_a_tensor_without_floating_mean_is_refused() -> None:
    th = torch()
    with pytest.raises(WrongUpdate, match="'w' is complex64"):
        Layout.of({"w": th.zeros(2, dtype=th.complex64)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch is about to drop them
        quantised = th.quantize_per_tensor(th.zeros(2), 0.1, 0, th.quint8)
    with pytest.raises(WrongUpdate, match="'w' is quint8"):
        Layout.of({"w": quantised})


LAYOUT = Layout.of({"w": np.zeros((2, 3), np.float32), "b": np.zeros(3, np.float32)})


@pytest.mark.parametrize(
    ("update", "words"),
    [
        ({"w": np.zeros((2, 3), np.float32)}, r"agreed model: \['b'\] are missing, \[\] unknown"),
        (
            {"w": np.zeros((2, 3), np.float32), "c": np.zeros(3, np.float32)},
            r"agreed model: \['b'\] are missing, \['c'\] unknown",
        ),
        (
            {"w": np.zeros((3, 2), np.float32), "b": np.zeros(3, np.float32)},
            r"'w': expected float32 of shape \(2, 3\), got float32 of shape \(3, 2\)",
        ),
        (
            {"w": np.zeros((2, 3), np.float32), "b": np.zeros(1, np.float32)},
            r"'b': expected float32 of shape \(3,\), got float32 of shape \(1,\)",
        ),
        (
            {"w": np.zeros((2, 3), np.float64), "b": np.zeros(3, np.float32)},
            r"'w': expected float32 .* got float64",
        ),
        ([np.zeros((2, 3), np.float32), np.zeros(3, np.float32)], "expected a mapping of arrays, got a sequence"),
    ],
    ids=["missing", "renamed", "reshaped", "broadcastable", "widened", "list"],
)
def test_an_update_of_another_layout_is_refused_with_the_array_named(update: Any, words: str) -> None:
    with pytest.raises(WrongUpdate, match=words):
        LAYOUT.flatten(update)


def test_an_array_of_another_dtype_is_refused_with_the_cast_that_mends_it() -> None:
    update = {"w": np.zeros((2, 3)), "b": np.zeros(3, np.float32)}
    with pytest.raises(WrongUpdate, match=r"got float64 of shape \(2, 3\): cast it with \.astype\(np\.float32\)$"):
        LAYOUT.flatten(update)
    with pytest.raises(WrongUpdate, match=r"got float64 of shape \(3, 2\)$"):
        LAYOUT.flatten(update | {"w": np.zeros((3, 2))})


def test_a_tensor_of_another_dtype_is_refused_with_the_cast_that_mends_it() -> None:
    torch = pytest.importorskip("torch", reason="extra 'torch' is not installed")
    update = {"w": torch.zeros(2, 3, dtype=torch.float64), "b": torch.zeros(3)}
    with pytest.raises(WrongUpdate, match=r": cast it with \.to\(torch\.float32\)$"):
        LAYOUT.flatten(update)


@pytest.mark.parametrize("shape", [(8,), (10,), (9, 1), ()])
def test_a_vector_of_another_length_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(WrongUpdate, match=r"expected 9 numbers, got shape"):
        LAYOUT.unflatten(np.zeros(shape))


@pytest.mark.parametrize("number", [65505.0, -1e30])
def test_a_mean_too_large_for_its_dtype_is_refused_instead_of_becoming_infinite(number: float) -> None:
    layout = Layout.of({"w": np.zeros(2, np.float16)})
    with pytest.raises(WrongUpdate, match=r"'w': a mean above 65504 does not fit its dtype float16"):
        layout.unflatten(np.array([0.0, number]))


def test_nan_is_passed_on_for_the_encoder_to_refuse() -> None:
    update = [np.array([np.nan, np.inf], np.float32)]
    assert np.array_equal(Layout.of(update).flatten(update), update[0], equal_nan=True)


def test_arrays_that_are_not_finite_are_named_and_counted() -> None:
    update = {"a": np.ones(3), "n": np.array(1), "b": np.array([np.nan, 1.0, -np.inf]), "c": np.array(np.inf)}
    layout = Layout.of(update)
    assert layout.not_finite(layout.flatten(update)) == {"b": 2, "c": 1}
    assert layout.not_finite(np.zeros(layout.length)) == {}


def test_an_array_that_may_not_be_written_is_read() -> None:
    array = np.arange(3.0)
    array.flags.writeable = False
    assert Layout.of([array]).flatten([array]).tolist() == [0, 1, 2]


@pytest.mark.parametrize("pattern", ["embedding.*", "head.*"])
def test_a_tied_array_is_kept_under_both_names_or_neither(pattern: str) -> None:
    shared = np.ones((2, 3))
    model = {"embedding.weight": shared, "head.weight": shared, "bias": np.zeros(2)}
    with pytest.raises(WrongUpdate, match="only one of them is kept"):
        Layout.of(model, keep=pattern)
    assert Layout.of(model, keep=["embedding.*", "head.*"]).length == 2
    assert Layout.of(model).length == 8
