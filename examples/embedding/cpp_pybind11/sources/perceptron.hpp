// A perceptron of two layers, in plain C++: no Python, no GIL.
#pragma once

#include <cstddef>
#include <vector>

#include "activation.hpp"

// x @ weight + bias.
class linear {
public:
    // Row by row: weight[input * outputs + output].
    linear(std::ptrdiff_t inputs, std::ptrdiff_t outputs, std::vector<float> weight, std::vector<float> bias);

    std::ptrdiff_t inputs() const { return inputs_; }
    std::ptrdiff_t outputs() const { return outputs_; }
    void forward(const float *x, std::ptrdiff_t rows, float *out) const;

private:
    std::ptrdiff_t inputs_, outputs_;
    std::vector<float> weight_, bias_;
};

// second(activation(first(x))).
class perceptron {
public:
    perceptron(linear first, linear second, activation between);

    std::ptrdiff_t inputs() const { return first_.inputs(); }
    std::ptrdiff_t outputs() const { return second_.outputs(); }
    void forward(const float *x, std::ptrdiff_t rows, float *out) const;

private:
    linear first_, second_;
    activation between_;
};
