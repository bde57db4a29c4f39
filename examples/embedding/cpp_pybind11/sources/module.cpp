// The Python module perceptron: NumPy arrays in and out, the GIL released around the work, exceptions translated.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define FASTACT_API_GLOBAL
#include <fastact.h>

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "activation.hpp"
#include "perceptron.hpp"

namespace py = pybind11;

// Contiguous float32; anything else is converted.
using array = py::array_t<float, py::array::c_style | py::array::forcecast>;

static std::vector<float> numbers(const array &values)
{
    return std::vector<float>(values.data(), values.data() + values.size());
}

static linear make_linear(const array &weight, const array &bias)
{
    if (weight.ndim() != 2 || bias.ndim() != 1)
        throw std::invalid_argument("weight, bias: accepted: two dimensions and one");
    return linear(weight.shape(0), weight.shape(1), numbers(weight), numbers(bias));
}

static perceptron make_perceptron(const linear &first, const linear &second, const std::string &name,
                                  const py::kwargs &parameters)
{
    return perceptron(first, second, activation(name, parameters.cast<std::map<std::string, double>>()));
}

// Both classes have inputs(), outputs() and forward().
template <class Layer> static array forward(const Layer &layer, const array &x)
{
    if (x.ndim() != 2 || x.shape(1) != layer.inputs())
        throw std::invalid_argument("x: accepted: rows of " + std::to_string(layer.inputs()) + " numbers");
    const py::ssize_t rows = x.shape(0);
    array out({rows, static_cast<py::ssize_t>(layer.outputs())});
    const float *source = x.data();
    float *target = out.mutable_data();
    {
        py::gil_scoped_release released;
        layer.forward(source, rows, target);
    }
    return out;
}

PYBIND11_MODULE(perceptron, module)
{
    module.doc() = "Example for fastact: a perceptron of two layers in C++.";
    if (fastact_import() < 0)
        throw py::error_already_set();
    py::register_exception<activation_error>(module, "ActivationError", PyExc_ValueError);

    py::class_<linear>(module, "Linear", "x @ weight + bias.")
        .def(py::init(&make_linear), py::arg("weight"), py::arg("bias"))
        .def("__call__", &forward<linear>, py::arg("x"));
    py::class_<perceptron>(module, "Perceptron", "second(activation(first(x))); parameters of the activation by name.")
        .def(py::init(&make_perceptron), py::arg("first"), py::arg("second"), py::arg("activation"))
        .def("__call__", &forward<perceptron>, py::arg("x"));
}
