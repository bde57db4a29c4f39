"""The bits of every compiled kernel on a sweep of float32, by digest: a change of results is seen, and never by chance.

    python tests/test_digests.py             what has changed
    python tests/test_digests.py --update    stores the digests of what is built here

A change that is meant to move bits updates ``digests.json`` and has a line under "Accuracy" in CHANGELOG.md.  Compilers
choose differently where to use FMA, so the bits of one compiler are compared with its own only.
"""

import argparse
import json
import sys
from pathlib import Path

import pytest

from fastact.verification import measuring, targets
from fastact.verification.certificate import compiler
from fastact.verification.subjects import functions_named, subjects_of
from fastact.verification.work import STRIDE

STORED = Path(__file__).with_name("digests.json")
#: Numba's bits depend on its version, and are left to `fastact verify`.
COMPILED = targets.TARGETS[:-1]
SUBJECTS = subjects_of(functions_named([]), with_tried=True)


def name_of(subject):
    parameters = ", ".join(f"{name}={value:g}" for name, value in subject.named_parameters.items())
    return f"{subject.function}({parameters})"


def computed(subject, target):
    return measuring.results_digest(subject, target, "float32", STRIDE)


def stored():
    return json.loads(STORED.read_text())


@pytest.mark.parametrize("target", COMPILED)
@pytest.mark.parametrize("subject", SUBJECTS, ids=name_of)
def test_bits_are_the_stored_ones(subject, target):
    expected = stored()
    if target not in targets.available():
        pytest.skip(f"this machine does not run {target}")
    if expected["compiler"] != compiler():
        pytest.skip(f"stored for {expected['compiler']}, built by {compiler() or 'an unknown compiler'}")
    assert expected["stride"] == STRIDE
    assert computed(subject, target) == expected["digests"].get(f"{name_of(subject)} {target}"), (
        "results have changed: if that is meant, run `python tests/test_digests.py --update`"
    )


def test_every_line_is_about_something():
    names = {f"{name_of(subject)} {target}" for subject in SUBJECTS for target in COMPILED}
    assert set(stored()["digests"]) == names


def main(words=None):
    parser = argparse.ArgumentParser(description="Digests of the compiled kernels' results.")
    parser.add_argument("--update", action="store_true", help=f"write {STORED.name}")
    options = parser.parse_args(words)
    before = stored()["digests"] if STORED.exists() else {}
    found = {}
    for subject in SUBJECTS:
        for target in COMPILED:
            name = f"{name_of(subject)} {target}"
            if target in targets.available():
                found[name] = computed(subject, target)
            elif name in before and stored()["compiler"] == compiler():
                # what this machine does not run stays as it was stored: by the same compiler, of the same kernels
                found[name] = before[name]
            else:
                parser.error(f"this machine does not run {target}; accepted: one that does, for {name}")
    changed = sorted(name for name in {*found, *before} if found.get(name) != before.get(name))
    print("\n".join([*changed, f"{len(changed)} of {len(found)} differ from {STORED.name}"]))
    if options.update:
        data = {"compiler": compiler(), "stride": STRIDE, "digests": found}
        STORED.write_text(json.dumps(data, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
