"""Other people's arrays in and out without a copy: buffers, DLPack, PyTorch."""

import array
import ctypes
import sys

import numpy as np
import pytest

import fastact
from fastact.exchange import as_array, as_output

VALUES = [1.0, -2.0, 0.5, 3.0]
EXPECTED = fastact.gelu(np.array(VALUES, np.float32))


class OnlyDLPack:
    """An array of another library, which knows nothing of NumPy."""

    def __init__(self, values):
        self.values = np.array(values, np.float32)

    def __dlpack__(self, **keywords):
        return self.values.__dlpack__(**keywords)

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()

    def __iter__(self):
        return iter(self.values)


def torch_tensor(values):
    torch = pytest.importorskip("torch")
    return torch.tensor(values, dtype=torch.float32)


MAKERS = {
    "array.array": lambda values: array.array("f", values),
    "ctypes": lambda values: (ctypes.c_float * len(values))(*values),
    "memoryview": lambda values: memoryview(bytearray(np.array(values, np.float32).tobytes())).cast("f"),
    "dlpack": OnlyDLPack,
    "torch": torch_tensor,
}


@pytest.fixture(params=MAKERS)
def foreign(request):
    return MAKERS[request.param](VALUES)


def test_in(foreign):
    got = fastact.gelu(foreign)
    assert type(got) is np.ndarray
    np.testing.assert_array_equal(got, EXPECTED)
    np.testing.assert_array_equal(list(foreign), VALUES)


def test_in_without_a_copy(foreign):
    assert np.shares_memory(as_array(foreign), as_output(foreign))


def test_in_place(foreign):
    got = fastact.gelu(foreign, out=foreign)
    np.testing.assert_array_equal(got, EXPECTED)
    np.testing.assert_array_equal([float(value) for value in foreign], EXPECTED)


def test_backward_into_grad(foreign):
    grad = np.ones(4, np.float32)
    expected = fastact.gelu_backward(grad, np.array(VALUES, np.float32))
    fastact.gelu_backward(grad, foreign, out=foreign)
    np.testing.assert_array_equal([float(value) for value in foreign], expected)


class OnlyOldDLPack(OnlyDLPack):
    """Exports as libraries did before DLPack had versions, and with them a flag for what is read-only."""

    def __init__(self, tensor):
        self.values = tensor

    def __dlpack__(self):
        return self.values.__dlpack__()


def test_bfloat16():
    """Of PyTorch, which NumPy takes neither as an array nor by DLPack: in, out, in place, strided, empty, 0-d."""
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    torch = pytest.importorskip("torch")
    x = np.linspace(-3, 3, 12).astype(bfloat16).reshape(3, 4)
    tensor = torch.linspace(-3, 3, 12).to(torch.bfloat16).reshape(3, 4)
    expected = fastact.gelu(x)
    for given, wanted in ((tensor, expected), (tensor.T, expected.T), (tensor[1:, ::2], expected[1:, ::2])):
        got = fastact.gelu(given)
        assert got.dtype == bfloat16
        np.testing.assert_array_equal(got, wanted)
    assert fastact.gelu(tensor[0, 0]).shape == ()
    assert fastact.gelu(tensor[:0]).shape == (0, 4)
    np.testing.assert_array_equal(fastact.gelu(OnlyOldDLPack(tensor)), expected)
    assert np.shares_memory(as_array(tensor), as_output(tensor))
    view = as_array(tensor.clone())  # the tensor is gone
    np.testing.assert_array_equal(view, x)
    fastact.gelu_backward(np.ones_like(x), tensor, out=tensor)
    np.testing.assert_array_equal(tensor.float().numpy(), fastact.gelu_backward(np.ones_like(x), x).astype("f4"))


def test_bfloat16_that_cannot_be_had():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    torch = pytest.importorskip("torch")
    x, tensor = np.ones(4, bfloat16), torch.ones(4, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="gelu: out: got a read-only array"):
        fastact.gelu(x, out=OnlyOldDLPack(tensor))
    with pytest.raises(RuntimeError, match="requires grad"):
        fastact.gelu(tensor.clone().requires_grad_())
    with pytest.raises(TypeError, match="gelu: out: got Tensor; accepted: a NumPy array"):
        fastact.gelu(x, out=tensor.clone().requires_grad_())
    with pytest.raises(TypeError, match="meta"):
        fastact.gelu(tensor.to("meta"))
    small = torch.ones(4).to(torch.float8_e5m2)
    with pytest.raises(TypeError, match="gelu: out: got Tensor; accepted: a NumPy array"):
        fastact.gelu(x, out=small)
    with pytest.raises(TypeError):
        fastact.gelu(small)


def test_bfloat16_without_ml_dtypes(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(ImportError, match=r"bfloat16 array .*; accepted where .* pip install 'fastact\[bfloat16\]'"):
        fastact.gelu(torch.ones(4, dtype=torch.bfloat16))


@pytest.mark.parametrize("out", [VALUES, tuple(VALUES), bytes(16), memoryview(bytes(16)), "text", 1.0])
def test_output_without_memory_is_refused(out):
    with pytest.raises((TypeError, ValueError)) as caught:
        fastact.gelu(np.array(VALUES, np.float32), out=[out] if isinstance(out, tuple) else out)
    assert "gelu: out: got" in str(caught.value)
    assert "accepted: a NumPy array, or an object that lends its memory for writing" in str(caught.value)


def test_read_only_dlpack_is_refused():
    foreign = OnlyDLPack(VALUES)
    foreign.values.flags.writeable = False
    with pytest.raises((TypeError, ValueError), match=r"gelu: out: got"):
        fastact.gelu(np.array(VALUES, np.float32), out=foreign)
    np.testing.assert_array_equal(foreign.values, np.array(VALUES, np.float32))


def test_tensor_that_needs_a_gradient_is_refused():
    tensor = torch_tensor(VALUES).requires_grad_()
    with pytest.raises(RuntimeError, match="requires grad"):
        fastact.gelu(tensor)
