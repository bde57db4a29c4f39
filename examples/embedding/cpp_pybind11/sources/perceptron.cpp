// The layers.  The hidden layer of a few rows at a time is computed, activated and used up while it is in the cache;
// it never exists as a whole.
#include "perceptron.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace {

// Of the hidden layer: fits the smallest L1 cache in use.
constexpr std::ptrdiff_t BLOCK_BYTES = 16 * 1024;

} // namespace

linear::linear(std::ptrdiff_t inputs, std::ptrdiff_t outputs, std::vector<float> weight, std::vector<float> bias)
    : inputs_(inputs), outputs_(outputs), weight_(std::move(weight)), bias_(std::move(bias))
{
    if (static_cast<std::ptrdiff_t>(weight_.size()) != inputs * outputs ||
        static_cast<std::ptrdiff_t>(bias_.size()) != outputs)
        throw std::invalid_argument("weight, bias: accepted: inputs x outputs and outputs numbers");
}

// Row times matrix as a sum of scaled rows of the matrix: the inner loop runs along both, so compilers vectorise it.
// Four at a time, or it would wait for its own last store.
void linear::forward(const float *x, std::ptrdiff_t rows, float *out) const
{
    for (std::ptrdiff_t row = 0; row < rows; row++, x += inputs_, out += outputs_) {
        std::copy(bias_.begin(), bias_.end(), out);
        std::ptrdiff_t input = 0;
        for (; input + 4 <= inputs_; input += 4) {
            const float *a = &weight_[input * outputs_], *b = a + outputs_, *c = b + outputs_, *d = c + outputs_;
            for (std::ptrdiff_t k = 0; k < outputs_; k++)
                out[k] += x[input] * a[k] + x[input + 1] * b[k] + x[input + 2] * c[k] + x[input + 3] * d[k];
        }
        for (; input < inputs_; input++)
            for (std::ptrdiff_t k = 0; k < outputs_; k++)
                out[k] += x[input] * weight_[input * outputs_ + k];
    }
}

perceptron::perceptron(linear first, linear second, activation between)
    : first_(std::move(first)), second_(std::move(second)), between_(std::move(between))
{
    if (first_.outputs() != second_.inputs())
        throw std::invalid_argument("second: accepted: a layer with as many inputs as the first has outputs");
}

void perceptron::forward(const float *x, std::ptrdiff_t rows, float *out) const
{
    const std::ptrdiff_t hidden = first_.outputs();
    const std::ptrdiff_t bytes_of_row = hidden * static_cast<std::ptrdiff_t>(sizeof(float)) + 1;
    const std::ptrdiff_t block = std::max<std::ptrdiff_t>(1, BLOCK_BYTES / bytes_of_row);
    std::vector<float> between(block * hidden);
    for (std::ptrdiff_t row = 0; row < rows; row += block) {
        const std::ptrdiff_t count = std::min(block, rows - row);
        first_.forward(x + row * inputs(), count, between.data());
        between_.apply(between.data(), count * hidden);
        second_.forward(between.data(), count, out + row * outputs());
    }
}
