"""What an element costs in the SIMD loop of each kernel, in instructions: read from the machine code, never run.

So the counts are the same on every machine that reads the same build, also those of AVX-512.  They know nothing of
caches and little of time: a division counts as one, which is why the expensive kinds are counted for themselves.

``listing`` shows a loop and its instructions by kind, for those who want to make it faster.
"""

import itertools
import re
import shutil
import subprocess
from collections import Counter

import disassembly  # from tests/, which whoever imports this has on the path

#: Kinds of instructions on vectors and masks; the first that matches the mnemonic without the v of AVX.
KINDS = {
    "division": r"div|rcp",
    "square root": r"r?sqrt",
    "gather": r"p?gather|p?scatter",
    "conversion": r"cvt",
    "multiplication, FMA": r"(fn?m(add|sub)|mul|scalef)",
    "addition": r"(add|sub)[ps][sd]",
    "rounding, exponent": r"round|rndscale|reduce|range|getexp|getmant|fixupimm",
    "comparison, choice": r"cmp|u?comi|max|min|p?blend|pcmp|p?test|p?movmsk|pmov\w2m|k",
    "logic": r"(andn?|x?or)p[sd]|p(andn?|x?or|ternlog)",
    "shuffle": r"p?shuf|p?perm|p?unpck|p?insert|p?extract|p?broadcast|p?pack|p?align|mov(lh|hl|ddup|s[lh]dup)",
    "integer": r"p",
    "move": r"mov",
}
#: Many times the price of an addition, or a sign that a loop is not what it was meant to be; counted for themselves.
EXPENSIVE = ("division", "square root", "gather", "conversion", "branch")
#: What a core of AMD's Zen 5 with the full 512-bit data path starts in a cycle, after AMD's optimisation guide
#: (document 58455): two vector pipes multiply, two add, all four do the rest.
ZEN_5 = {"multiplication, FMA": 2, "addition": 2, "vector": 4, "load": 2, "store": 1}
#: Processors that llvm-mca is asked about: wide cores that it knows since LLVM 13.
PROCESSORS = {"base": "znver3", "avx2": "znver3", "avx512": "icelake-server"}


def kind_of(mnemonic, operands):
    if re.match(r"j|call|ret", mnemonic):
        return "branch"
    # counting and addressing happen in general registers
    if not re.search(r"%([xyz]mm|k)\d", operands):
        return "other"
    name = mnemonic.removeprefix("v")
    if name.startswith("mov") and re.search(r"\{%k\d\}", operands) and "(" not in operands:
        return "comparison, choice"
    return next((kind for kind, pattern in KINDS.items() if re.match(pattern, name)), "other")


def kinds_of(body):
    """How often each kind stands in a loop, and what goes through memory: operands, and what registers do not hold."""
    counts = Counter(kind_of(mnemonic, operands) for _, mnemonic, operands in body)
    for _, mnemonic, operands in body:
        # a move between registers costs a name, no pipe
        counts["vector"] += kind_of(mnemonic, operands) not in ("move", "branch", "other")
        if "(" in operands and not mnemonic.startswith(("lea", "nop")):
            counts["store" if disassembly.STORE.match(operands) else "load"] += 1
            counts["on the stack"] += "(%rsp" in operands
    return counts


def levels():
    """The instruction sets that were built."""
    return [level for level in disassembly.WIDTH if disassembly.kernels_file(level)]


def subjects():
    """Instruction set, loop and dtype of every kernel that there is to count."""
    return itertools.product(disassembly.WIDTH, disassembly.LOOPS, disassembly.DTYPES)


def names():
    return [f"{level} {loop.name} {dtype}" for level, loop, dtype in subjects()]


def cost_of(instructions, dtype, fetches=False):
    """{measure: how many per element} of one kernel: all instructions, and each expensive kind that occurs.

    What ``fetches`` goes over all elements twice: the loop with the least arithmetic is that of the indices.
    """
    total, bodies = Counter(), disassembly.simd_loops(instructions)
    for body in [bodies[0], bodies[-1]] if fetches else bodies[:1]:
        elements = disassembly.elements_per_pass(body, dtype)
        kinds = kinds_of(body)
        total["instructions"] += len(body) / elements
        total.update({kind: kinds[kind] / elements for kind in EXPENSIVE if kinds[kind]})
    return dict(total)


def fetches(level, loop, dtype):
    """Whether a kernel is one of src_cy/fetched_loops.h."""
    return level == "avx2" and dtype in loop.looked_up(level)


def measured():
    """{kernel: its counts} of every kernel that was built."""
    counts, built = {}, levels()
    for level, loop, dtype in subjects():
        name = f"{level} {loop.name} {dtype}"
        if level in built:
            try:
                kernel = disassembly.kernels_of(level)[f"{loop.name}_{dtype}"]
                counts[name] = cost_of(kernel, dtype, fetches(level, loop, dtype))
            except ValueError as problem:
                raise ValueError(f"{name}: {problem}") from None
    return counts


# --- for people ----------------------------------------------------------------------------------------------------


def listing(kernel, level):
    """One kernel's SIMD loop as text: assembly, instructions by kind, and what bounds a pass."""
    body = disassembly.simd_loop(disassembly.kernels_of(level)[kernel])
    elements = disassembly.elements_per_pass(body, kernel.rpartition("_")[2])
    kinds = kinds_of(body)
    return "\n".join(
        [
            f"{kernel}, {level}:",
            *(f"    {mnemonic:<15} {operands}".rstrip() for _, mnemonic, operands in body),
            f"{len(body)} instructions for {elements} elements: {len(body) / elements:.2f} each",
            *(f"{kinds[kind]:6} {kind}" for kind in [*KINDS, "branch", "other"] if kinds[kind]),
            f"memory: {kinds['load']} loads, {kinds['store']} stores; of these on the stack: {kinds['on the stack']}",
            *estimate(kinds, elements),
            *analysis(body, level, elements),
        ]
    )


def estimate(kinds, elements):
    """The pipes of one core as a floor of cycles; neither latencies nor the time of a division are in it."""
    cycles = {name: kinds[name] / rate for name, rate in ZEN_5.items()}
    busiest = max(cycles, key=cycles.get)
    parts = ", ".join(f"{name} {value:.1f}" for name, value in cycles.items())
    yield f"Zen 5, cycles per pass at least: {parts}"
    yield f"    bound by {busiest}: {cycles[busiest] / elements:.2f} cycles per element, without divisions"


def analysis(body, level, elements):
    """What llvm-mca makes of the loop, if it is there."""
    program = shutil.which("llvm-mca")
    if program is None:
        yield "llvm-mca (of LLVM) is not here: with it, cycles and ports of a model that knows latencies and divisions"
        return
    # objdump writes jump targets as addresses and adds what they point to
    lines = [
        f"{mnemonic} {'again' if kind_of(mnemonic, operands) == 'branch' else re.sub(r' *[#<].*', '', operands)}"
        for _, mnemonic, operands in body
    ]
    done = subprocess.run(
        [program, f"-mcpu={PROCESSORS[level]}", "-instruction-info=0", "-iterations=100"],
        input="\n".join(["again:", *lines, ""]),
        capture_output=True,
        text=True,
        check=False,
    )
    total = re.search(r"^Total Cycles: +(\d+)", done.stdout, re.MULTILINE)
    pressure = re.search(r"^Resource pressure per iteration:\n.*\n(.*)", done.stdout, re.MULTILINE)
    if done.returncode or not total or not pressure:
        yield f"llvm-mca says: {done.stderr.strip() or done.stdout.strip()}"
        return
    cycles = int(total[1]) / 100
    ports = re.findall(r"^\[[\d.]+\] +- (\w+)", done.stdout, re.MULTILINE)
    busy = [f"{port} {taken}" for port, taken in zip(ports, pressure[1].split(), strict=True) if taken != "-"]
    yield f"llvm-mca, {PROCESSORS[level]}: {cycles:.1f} cycles per pass, {cycles / elements:.2f} per element"
    yield f"    busy cycles: {', '.join(busy)}"
