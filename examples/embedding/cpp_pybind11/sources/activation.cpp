#include "activation.hpp"

// module.cpp defines fastact_api and imports the table; this unit only uses it.
#define FASTACT_API_EXTERN
#include <fastact.h>

activation_error::activation_error(int status, const std::string &message)
    : std::runtime_error(message), status_(status)
{
}

namespace {

// The message belongs to the thread that made the call, so it is copied at once.
void check(int status)
{
    if (status != FASTACT_OK)
        throw activation_error(status, fastact_api->message());
}

} // namespace

activation::activation(const std::string &name, const std::map<std::string, double> &parameters)
    : function_(fastact_api->find(name.c_str(), FASTACT_FORWARD))
{
    if (!function_)
        check(FASTACT_ERROR_NAME);

    fastact_description description = {};
    description.size = sizeof description;
    check(fastact_api->describe(function_, &description));
    parameters_.assign(description.defaults, description.defaults + description.n_parameters);
    std::map<std::string, double> unknown = parameters;
    for (int k = 0; k < description.n_parameters; k++) {
        const auto given = unknown.find(description.parameters[k]);
        if (given != unknown.end()) {
            parameters_[k] = given->second;
            unknown.erase(given);
        }
    }
    if (!unknown.empty())
        throw activation_error(FASTACT_ERROR_PARAMETER, name + ": got an unknown parameter " + unknown.begin()->first);
    if (description.n_inputs != 1 || description.n_outputs != 1)
        throw activation_error(FASTACT_ERROR_OPERANDS, name + ": takes more than one array; accepted: those of one");
    // one element shows whether the values are accepted, before any work is done with them
    float element = 0;
    apply(&element, 1);
}

void activation::apply(float *elements, std::ptrdiff_t count) const
{
    const void *inputs[] = {elements};
    void *outputs[] = {elements};
    check(fastact_apply(function_, FASTACT_FLOAT32, inputs, outputs, count, parameters_.data(),
                        static_cast<int>(parameters_.size()), 1));
}
