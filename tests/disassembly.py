"""What a compiler made of a loop: read from the machine code, because compilers do not say.

A loop that a compiler gave up on computes the same, only ten times slower.  So the loops of a function are found by
their backward jumps, and one of them must do all its floating-point work on packed registers of the width that the
instruction set promises.  How many elements a pass of it handles is read from it too, so that
``benchmarks/kernel_instructions.py`` can tell what an element costs.

Nothing is run or loaded for this: AVX-512 kernels are read on machines that cannot run them.
"""

import functools
import importlib.util
import platform
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from fastact import lowering
from fastact.catalogue import ACTIVATIONS

OBJDUMP = shutil.which("objdump")
IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
needs_objdump = pytest.mark.skipif(OBJDUMP is None, reason="needs objdump (binutils), which comes with GCC")
reads_code = pytest.mark.skipif(OBJDUMP is None or not IS_X86, reason="reads x86-64's code with objdump")

WIDTH = {"base": "xmm", "avx2": "ymm", "avx512": "zmm"}
#: Arithmetic, comparisons and choices, in their scalar and packed spellings (with and without the v of AVX).
ARITHMETIC = (
    r"v?(?:add|sub|mul|div|min|max|cmp\w*?|fn?m(?:add|sub)(?:132|213|231)|and|andn|or|xor|blend[mv]?|ucomi|comi)"
)
PACKED = re.compile(ARITHMETIC + r"p[sd]$")
SCALAR = re.compile(ARITHMETIC + r"s[sd]$")

DTYPES = ("float32", "float64", "float16", "bfloat16")
#: The loops of every row; each is a kernel per dtype in each module of an instruction set.
LOOPS = [loop for row in ACTIVATIONS for loop in lowering.loops_of(row)]
#: A vector register put into memory: register, base, index, scale.  The mask of AVX-512 may follow.
STORE = re.compile(r"%[xyz]mm\d+,[^,(]*\((%\w+)(?:,(%\w+)(?:,(\d))?)?\)")


def functions_of(path, name_of):
    """{name: [(address, mnemonic, operands), ...]} of the functions whose symbol ``name_of`` turns into a name."""
    text = subprocess.run(
        [OBJDUMP, "-d", "--no-show-raw-insn", path], check=True, capture_output=True, text=True
    ).stdout
    found, current = {}, None
    for line in text.splitlines():
        head = re.match(r"[0-9a-f]+ <(.*)>:", line)
        if head:
            name = name_of(head.group(1))
            current = found.setdefault(name, []) if name else None
        elif current is not None:
            part = re.match(r"\s*([0-9a-f]+):\s+(?:\{\w+\} )?(\S+)\s*(.*)", line)
            if part:
                current.append((int(part.group(1), 16), part.group(2), part.group(3)))
    return found


def loops_of(instructions):
    """The bodies of the innermost loops: what stands between a backward jump and its target."""
    spans = []
    for address, mnemonic, operands in instructions:
        target = re.match(r"([0-9a-f]+)", operands)
        if mnemonic.startswith("j") and target and instructions[0][0] <= int(target.group(1), 16) <= address:
            spans.append((int(target.group(1), 16), address))
    innermost = [s for s in spans if not any(o != s and s[0] <= o[0] and o[1] <= s[1] for o in spans)]
    return [[i for i in instructions if start <= i[0] <= end] for start, end in innermost]


def kernels_file(level):
    """The compiled module of an instruction set, or None if it was not built.  It is not imported."""
    found = importlib.util.find_spec(f"fastact._kernels.{level}")
    return Path(found.origin) if found else None


@functools.cache
def kernels_of(level):
    """{kernel name, such as ``gelu_forward_float32``: its instructions} of one compiled module."""
    # the longest, because elu's name ends that of gelu
    names = sorted((f"{loop.name}_{dtype}" for loop in LOOPS for dtype in DTYPES), key=len, reverse=True)

    def name_of(symbol):
        # what GCC moves out of the way is no part of a loop, though it is jumped to from there
        if symbol.endswith(".cold"):
            return None
        # GCC may append .isra or .constprop; Cython puts the module's name in front, with lengths between
        kernel = re.search(r"_([a-z_0-9]+_(?:float(?:32|64|16)|bfloat16))_kernel", symbol)
        return next((name for name in names if kernel.group(1).endswith(name)), None) if kernel else None

    kernels = functions_of(kernels_file(level), name_of)
    places = {instructions[0][0]: name for name, instructions in kernels.items()}
    for name, instructions in kernels.items():
        # of two kernels that are the same to the letter, compilers make one, and the other one jumps to it
        _, mnemonic, operands = instructions[0]
        if mnemonic == "jmp" and int(operands.split()[0], 16) in places:
            kernels[name] = kernels[places[int(operands.split()[0], 16)]]
    return kernels


def simd_loop(instructions):
    """The body of the loop that works on packed registers only and does the most of it per pass."""
    return simd_loops(instructions)[0]


def simd_loops(instructions):
    """Those that work on packed registers only, the one that does the most of it per pass first.

    They may compare a parameter, which a kernel of 16 bits does once per pass.
    """
    bodies = [
        (counts["packed"], body)
        for body in loops_of(instructions)
        for counts in [Counter(_kind(i) for i in body if not re.match("v?u?comis", i[1]))]
        if counts["packed"] and not counts["scalar"]
    ]
    if not bodies:
        raise ValueError("no loop works on packed registers only")
    return [body for _, body in sorted(bodies, key=lambda pair: -pair[0])]


def _sums_as_steps(body):
    """By how much addresses grow that are sums in another register first: lea 0x40(%r8),%r9 ... mov %r9,%r8."""
    steps, sums = Counter(), {}
    for _, mnemonic, operands in body:
        made = re.fullmatch(r"(0x[0-9a-f]+)\((%r\w+)\),(%r\w+)", operands)
        if mnemonic == "lea" and made:
            sums[f"{made[3]},{made[2]}"] = int(made[1], 16)
        elif mnemonic == "mov" and operands in sums:
            steps[operands.split(",")[1]] += sums[operands]
    return steps


def _shifts_as_steps(body):
    """By how much those grow that are made from a count of passes: mov %rcx,%rsi; shl $0x6,%rsi ... inc %rcx."""
    steps, copies = Counter(), {}
    counted = {operands for _, mnemonic, operands in body if mnemonic == "inc"}
    for _, mnemonic, operands in body:
        if mnemonic == "mov" and operands.split(",")[0] in counted:
            copies[operands.split(",")[1]] = operands.split(",")[0]
        shift = re.fullmatch(r"\$(0x[0-9a-f]+),(%r\w+)", operands)
        if mnemonic == "shl" and shift and shift[2] in copies:
            steps[shift[2]] += 1 << int(shift[1], 16)
    return steps


def elements_per_pass(body, dtype):
    """How many elements a pass of a loop handles: by how far the addresses that it stores to go on.

    What is put on the stack for want of registers stays where it is, so it is not taken for a result.
    """
    steps = _sums_as_steps(body) + _shifts_as_steps(body)
    for _, mnemonic, operands in body:
        step = re.fullmatch(r"\$(0x[0-9a-f]+),(%r\w+)", operands)
        if step and mnemonic in ("add", "sub"):
            # GCC adds 128 as a subtraction of -128, which fits one byte; objdump prints 64 bits without a sign
            value = (int(step[1], 16) + 2**63) % 2**64 - 2**63
            steps[step[2]] += value if mnemonic == "add" else -value
    stores = [STORE.match(operands) for _, mnemonic, operands in body if "mov" in mnemonic]
    lengths = {steps[store[1]] + steps[store[2]] * int(store[3] or 1) for store in stores if store} - {0}
    if dtype in ("float16", "bfloat16"):
        # their loops make every address anew, so what is stored to each array is added up instead
        stored = Counter()
        for store in filter(None, stores):
            if store[1] not in ("%rsp", "%rbp"):
                stored[store[1], store[2]] += {"x": 16, "y": 32, "z": 64}[store[0][1]]
        # the most: the stack may be addressed through another register than its own
        lengths = {max(stored.values())} if stored else set()
    if len(lengths) != 1:
        raise ValueError(f"a pass goes on by {sorted(lengths) or 'nothing'}; accepted: one number of bytes")
    return lengths.pop() // {"float32": 4, "float64": 8}.get(dtype, 2)


def build_flags(path):
    """The compiler's flags that shape code, as the debugging information has them; None if there is none."""
    text = subprocess.run(
        [OBJDUMP, "--dwarf=info", "--dwarf-depth=1", path], check=True, capture_output=True, text=True
    ).stdout
    producer = re.search(r"DW_AT_producer\s*:.*?: (.*)", text)
    words = [word for word in producer[1].split() if word.startswith("-")] if producer else []
    # clang and GCC with -gno-record-gcc-switches name themselves only
    return frozenset(w for w in words if not re.match(r"-g|-f\w+-prefix-map|-frandom-seed", w)) if words else None


def assert_hot_loop_is_packed(instructions, level, dtype, *, epilogues=False, branches=0):
    """One loop works on packed registers of the level's width only, and computes the most numbers per pass.

    With ``epilogues`` there may be unrolled scalar loops for what no vector holds; then it is measured by the smallest.
    So many ``branches`` in a loop may compare what does not change in it.
    """
    bodies = loops_of(instructions)
    assert bodies, "no loop found"
    counts = [Counter(_kind(i) for i in body) for body in bodies]
    for count, body in zip(counts, bodies, strict=True):
        compared = sum(1 for _, mnemonic, _ in body if re.match("v?u?comis", mnemonic))
        count["scalar"] -= min(branches, compared)
    packed = [c for c in counts if c["packed"] and not c["scalar"]]
    assert packed, f"no loop works on packed registers only: {counts}"
    # the SIMD loop does at least as much work per pass as any scalar fallback beside it: GCC unrolls those for partly
    # overlapping arrays to whole cache lines where it prefetches
    scalar = [c["scalar"] for c in counts if c["scalar"]] or [0]
    lanes = {"xmm": 16, "ymm": 32, "zmm": 64}[WIDTH[level]] // (8 if dtype == "float64" else 4)
    assert max(c["packed"] for c in packed) * lanes >= (min(scalar) if epilogues else max(scalar)), counts
    widest = max(packed, key=lambda c: c["packed"])
    body = bodies[counts.index(widest)]
    registers = Counter(r for _, _, operands in body for r in re.findall(r"%([xyz]mm)\d", operands))
    assert registers[WIDTH[level]], f"registers used: {registers}"
    assert any(mnemonic.endswith("d" if dtype == "float64" else "s") for _, mnemonic, _ in body)


def _kind(instruction):
    _, mnemonic, _ = instruction
    return "packed" if PACKED.match(mnemonic) else ("scalar" if SCALAR.match(mnemonic) else "other")
