"""Whether kernels and calls still take as few instructions as they did: counts, compared with stored ones.

    python benchmarks/instruction_counts.py                what has changed; exit status 1 if anything costs more
    python benchmarks/instruction_counts.py --update       stores the counts of what is built here
    python benchmarks/instruction_counts.py --show gelu    a kernel's loop: assembly, kinds of instructions, ports

Times tell a slowdown of a few per cent from noise only on a quiet machine.  Instructions are the same in every run, so
the test suite can compare them each time (``tests/test_instruction_counts.py``).  They are no substitute for times:
an instruction may wait for memory or for another one.

Another compiler, other flags or another Python are other counts, so they are compared with their own only, and what is
not compared is said, with the reason.
"""

import argparse
import json
import platform
import re
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))

import call_instructions  # noqa: E402  (the folder of the program is on the path)
import disassembly  # noqa: E402  (from tests/, which is no package)
import kernel_instructions  # noqa: E402
import numpy as np  # noqa: E402

from fastact.verification.certificate import compiler  # noqa: E402

STORED = Path(__file__).with_suffix(".json")
UPDATE = "python benchmarks/instruction_counts.py --update"
#: How much more is too much.  Counts of one build repeat exactly; kernels' margin is one more spill in a loop of 33
#: instructions.  Calls also run Python, whose patch releases differ by a few per cent.
MARGINS = {"kernels": 0.03, "calls": 0.05}


class Change(NamedTuple):
    """A count that is not what is stored; None where there is none."""

    name: str
    measure: str
    before: float | None
    now: float | None

    @property
    def kind(self):
        if self.before is None:
            return "new"
        if self.now is None:
            return "gone"
        return "more" if self.now > self.before else "fewer"

    @property
    def fails(self):
        return self.kind != "fewer"

    def __str__(self):
        if self.before is None or self.now is None:
            return f"{self.kind:<5}  {self.name}"
        ratio = f" ({self.now / self.before - 1:+.1%})" if self.before else ""
        return f"{self.kind:<5}  {self.name}: {self.measure} {self.before:g} -> {self.now:g}{ratio}"


def changes(before, now, margin, without=()):
    """What differs by more than the margin between two {name: {measure: count}}; measures ``without`` are left out."""
    found = comings_and_goings(before, now)
    for name in (name for name in now if name in before):
        for measure in dict.fromkeys([*before[name], *now[name]]):
            # an expensive kind that does not occur is not stored
            old, new = before[name].get(measure, 0), now[name].get(measure, 0)
            if measure not in without and abs(new - old) > margin * old:
                found.append(Change(name, measure, old, new))
    return found


def comings_and_goings(before, now):
    """What is in one of two collections of names only."""
    return [
        *(Change(name, "", None, 0) for name in now if name not in before),
        *(Change(name, "", 0, None) for name in before if name not in now),
    ]


# --- what counts depend on -----------------------------------------------------------------------------------------


def major(name):
    """Name and major version of a compiler, as in ``GCC: (Debian 12.2.0-14) 12.2.0``."""
    found = re.match(r"(GCC|clang).*?(\d+)\.[\d.]+$", name)
    return f"{found[1]} {found[2]}" if found else name or "an unknown compiler"


def foreign_flags():
    """Flags that the modules were compiled with besides those that setup.py asks for: Python's and the environment's.

    The text of setup.py says what its own are, so that a change of them is compared and not passed over.  CFLAGS in the
    environment replace Python's, -g among them, and then nobody knows what the flags were.
    """
    flags = disassembly.build_flags(disassembly.kernels_file("base"))
    if flags is None:
        return "unknown (no -g)"
    own = set(re.findall(r'"(-[\w=+-]+)"', (ROOT / "setup.py").read_text(encoding="utf-8")))
    # what GCC adds by itself on this platform
    return " ".join(sorted(flags - own - {"-fasynchronous-unwind-tables"}))


def python_build():
    """What of an interpreter moves its counts by more than a patch release does."""
    ways = {
        "shared library": sysconfig.get_config_var("Py_ENABLE_SHARED"),
        "profile-guided": "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or ""),
    }
    return ", ".join([platform.python_compiler(), *(way for way, taken in ways.items() if taken)])


def build(part):
    """What the counts of a part depend on, as far as it is known before they are measured."""
    if disassembly.OBJDUMP is None:
        raise call_instructions.Unavailable("no objdump, which tells how the modules were built")
    kernels = {"machine": platform.machine(), "compiler": compiler(), "flags": foreign_flags()}
    python = {"python": platform.python_version(), "python_build": python_build(), "numpy": np.__version__}
    return kernels | (python if part == "calls" else {})


def minor(version):
    return ".".join(version.split(".")[:2])


def differences(stored, here, **compared):
    """What differs of two builds, a line each: of each name what ``compared`` makes of its value."""
    return [
        f"{name}: stored for {reduced(stored[name])}, here {reduced(here[name])}"
        for name, reduced in compared.items()
        if name in here and reduced(stored[name]) != reduced(here[name])
    ]


def obstacles(stored, here):
    """Why counts cannot be compared with the stored ones at all."""
    return differences(stored, here, machine=str, compiler=major, flags=str, instruction_set=str, python=minor)


def foreign_obstacles(stored, here):
    """Why the part of a call that is Python's and NumPy's cannot be compared."""
    return differences(stored, here, python_build=str, numpy=minor)


# --- stored, and compared ------------------------------------------------------------------------------------------


def stored():
    return json.loads(STORED.read_text(encoding="utf-8")) if STORED.exists() else {}


def store(parts):
    """Write the parts, a count a line, so that a change of one shows as that."""
    lines = []
    for part, content in parts.items():
        counts = ",\n".join(f"   {json.dumps(name)}: {json.dumps(value)}" for name, value in content["counts"].items())
        made_with = json.dumps(content["made_with"], indent=3).replace("\n}", "\n  }")
        lines.append(f' {json.dumps(part)}: {{\n  "made_with": {made_with},\n  "counts": {{\n{counts}\n  }}\n }}')
    STORED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def measured_kernels():
    return {"made_with": build("kernels"), "counts": kernel_instructions.measured()}


def measured_calls():
    counts, instruction_set = call_instructions.measured()
    served = {"instruction_set": instruction_set, "valgrind": call_instructions.version()}
    return {"made_with": build("calls") | served, "counts": counts}


MEASURING = {"kernels": measured_kernels, "calls": measured_calls}


def names_of(part):
    """The counts that there have to be, known without building or running anything."""
    return kernel_instructions.names() if part == "kernels" else list(call_instructions.CASES)


def strangers(part, before):
    """Counts that are stored for nothing, and kernels or calls for which none are: no compiler changes those."""
    return comings_and_goings(before.get(part, {}).get("counts", {}), names_of(part))


class Report(NamedTuple):
    """What is to be said about one part."""

    lines: list[str]
    fails: bool = False
    #: Whether anything was compared.
    compared: bool = True


def report(part, before):
    """Measure one part and compare it with what is stored."""
    odd = strangers(part, before)
    if odd:
        return Report([*map(str, odd), f"{part}: {UPDATE} stores what is new and drops what is gone"], fails=True)
    known = before[part]["made_with"]
    try:
        # another compiler's loops may be of a shape that cannot be read, so this comes first
        reasons = obstacles(known, build(part))
        now = MEASURING[part]() if not reasons else None
    except call_instructions.Unavailable as reason:
        return Report([f"{part}: not compared: {reason}"], compared=False)
    reasons = reasons or obstacles(known, now["made_with"])
    if reasons:
        return Report([f"{part}: not compared: {reason}" for reason in reasons], compared=False)
    partly = foreign_obstacles(known, now["made_with"])
    lines = [f"{part}: Python's and NumPy's share is not compared: {reason}" for reason in partly]
    found = changes(before[part]["counts"], now["counts"], MARGINS[part], {"all"} if partly else ())
    lines += map(str, found)
    fails = any(change.fails for change in found)
    if fails:
        lines += [
            f"{part}: more than {MARGINS[part]:.0%} above what is stored; if that is meant: {UPDATE}",
            f"    stored with {', '.join(f'{name} {value}' for name, value in known.items())}",
        ]
    elif found:
        lines += [f"{part}: fewer than stored; so that this stays: {UPDATE}"]
    return Report(lines, fails)


def update():
    """Measure what can be measured here, store it, and tell what has changed; the rest stays as it was."""
    before, parts = stored(), {}
    for part, measure in MEASURING.items():
        try:
            parts[part] = measure()
        except call_instructions.Unavailable as reason:
            print(f"{part}: left as they were: {reason}")
            if part in before:
                parts[part] = before[part]
            continue
        known = before.get(part, {"made_with": {}, "counts": {}})
        for change in changes(known["counts"], parts[part]["counts"], 0):
            print(change)
        for reason in obstacles(parts[part]["made_with"] | known["made_with"], parts[part]["made_with"]):
            print(f"{part}: {reason}: others compare nothing from now on, unless they build like this")
    store(parts)


def show(function, level, dtype):
    """A kernel's loop for people: by a function's name, as in ``gelu`` or ``gelu_backward``."""
    loops = {loop.name.removesuffix("_forward"): loop.name for loop in disassembly.LOOPS}
    if function not in loops:
        raise ValueError(f"--show: got {function!r}; accepted: {', '.join(loops)}")
    return kernel_instructions.listing(f"{loops[function]}_{dtype}", level)


def main(words=None):
    parser = argparse.ArgumentParser(description="Instructions of kernels and calls, compared with stored ones.")
    parser.add_argument("--update", action="store_true", help=f"write {STORED.name}")
    parser.add_argument("--show", metavar="FUNCTION", help="print the loop of a kernel, and what bounds it")
    parser.add_argument("--instruction-set", choices=disassembly.WIDTH, help="for --show; default: the best one built")
    parser.add_argument("--dtype", choices=disassembly.DTYPES, default="float32", help="for --show; default float32")
    options = parser.parse_args(words)
    if options.show:
        built = kernel_instructions.levels()
        level = options.instruction_set or built[-1]
        if disassembly.OBJDUMP is None or level not in built:
            parser.error(f"--show: got {level}; accepted: with objdump, {', '.join(built)}")
        try:
            print(show(options.show, level, options.dtype))
        except ValueError as problem:
            parser.error(str(problem))
        return 0
    if options.update:
        update()
        return 0
    reports = {part: report(part, stored()) for part in MEASURING}
    for part, said in reports.items():
        outcome = (
            "not compared" if not said.compared else "too many instructions" if said.fails else "no more than stored"
        )
        print(*said.lines, f"{len(names_of(part))} {part}: {outcome}", sep="\n")
    return int(any(said.fails for said in reports.values()))


if __name__ == "__main__":
    sys.exit(main())
