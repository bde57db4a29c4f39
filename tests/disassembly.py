"""Whether a compiled function's loop is SIMD: read from the machine code, because compilers do not say.

A loop that a compiler gave up on computes the same, only ten times slower.  So the loops of a function are found by
their backward jumps, and one of them must do all its floating-point work on packed registers of the width that the
instruction set promises.
"""

import re
import shutil
import subprocess
from collections import Counter

import pytest

OBJDUMP = shutil.which("objdump")
needs_objdump = pytest.mark.skipif(OBJDUMP is None, reason="needs objdump (binutils), which comes with GCC")

WIDTH = {"base": "xmm", "avx2": "ymm", "avx512": "zmm"}
#: Arithmetic, comparisons and choices, in their scalar and packed spellings (with and without the v of AVX).
ARITHMETIC = (
    r"v?(?:add|sub|mul|div|min|max|cmp\w*?|fn?m(?:add|sub)(?:132|213|231)|and|andn|or|xor|blend[mv]?|ucomi|comi)"
)
PACKED = re.compile(ARITHMETIC + r"p[sd]$")
SCALAR = re.compile(ARITHMETIC + r"s[sd]$")


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


def assert_hot_loop_is_packed(instructions, level, dtype, *, epilogues=False, branches=0):
    """One loop works on packed registers of the level's width only, and does the most work per pass.

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
    # the SIMD loop does at least as much work per pass as any scalar fallback beside it
    scalar = [c["scalar"] for c in counts if c["scalar"]] or [0]
    assert max(c["packed"] for c in packed) >= (min(scalar) if epilogues else max(scalar)), counts
    widest = max(packed, key=lambda c: c["packed"])
    body = bodies[counts.index(widest)]
    registers = Counter(r for _, _, operands in body for r in re.findall(r"%([xyz]mm)\d", operands))
    assert registers[WIDTH[level]], f"registers used: {registers}"
    assert any(mnemonic.endswith("d" if dtype == "float64" else "s") for _, mnemonic, _ in body)


def _kind(instruction):
    _, mnemonic, _ = instruction
    return "packed" if PACKED.match(mnemonic) else ("scalar" if SCALAR.match(mnemonic) else "other")
