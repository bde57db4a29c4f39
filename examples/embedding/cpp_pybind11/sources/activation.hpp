// An activation of fastact as a C++ object: found by name, called with its parameters, exceptions instead of statuses.
//
// Nothing here needs the GIL.  Objects are small, immutable and may be copied and shared between threads.
#pragma once

#include <cstddef>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

struct fastact_function;

// What fastact refused, in its own words.
class activation_error : public std::runtime_error {
public:
    activation_error(int status, const std::string &message);
    int status() const { return status_; }

private:
    int status_;
};

class activation {
public:
    // Parameters by their names in Python; those that are not given have their defaults.
    activation(const std::string &name, const std::map<std::string, double> &parameters);

    // f(x) in place.  One thread: the caller has threads of its own.
    void apply(float *elements, std::ptrdiff_t count) const;

private:
    const fastact_function *function_;
    std::vector<double> parameters_;
};
