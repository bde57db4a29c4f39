"""``fastact verify``: what measures the kernels against the truth."""
