"""Instructions are read as they are: from machine code, and from what valgrind writes.

``tests/test_instruction_counts.py`` compares them; here are made-up files and loops, and loops compiled to be slow.
"""

import re
import shutil
import sys
from pathlib import Path

import disassembly
import pytest
from extensions import compile_c

# last, because conftest.py and others have namesakes there
sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import call_instructions
import instruction_counts
import kernel_instructions

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")


@disassembly.reads_code
@pytest.mark.parametrize("level", kernel_instructions.levels())
def test_show(level, capsys):
    assert instruction_counts.main(["--show", "gelu", "--instruction-set", level]) == 0
    text = capsys.readouterr().out
    total, elements = map(int, re.search(r"^(\d+) instructions for (\d+) elements", text, re.MULTILINE).groups())
    assert len(re.findall(r"^    \S+ ", text, re.MULTILINE)) >= total
    by_kind = re.findall(r"^ +(\d+) (?:[a-z]+)", text, re.MULTILINE)
    assert sum(map(int, by_kind)) == total
    # several vectors at a time (src_cy/kernels.pyx.in)
    assert elements * 4 in [vectors * {"base": 16, "avx2": 32, "avx512": 64}[level] for vectors in (1, 2, 4)]


@disassembly.reads_code
def test_show_refuses_other_names(capsys):
    with pytest.raises(SystemExit):
        instruction_counts.main(["--show", "gelo"])
    assert "--show: got 'gelo'; accepted: relu, " in capsys.readouterr().err


# --- made-up files and loops -----------------------------------------------------------------------------------------

CALLGRIND = """\
# callgrind format
positions: line
events: Ir
summary: 1234

ob=(1) /usr/lib/libpython3.11.so.1.0
fl=(1) ceval.c
fn=(1) _PyEval_EvalFrameDefault
10 100
+2 20
cob=(2) /somewhere/fastact/_core.cpython-311-x86_64-linux-gnu.so
cfi=(2) core.c
cfn=(2) call_vector
calls=1 50
* 999

ob=(2)
fl=(2)
fn=(2)
50 30
-3 4
cob=(3) /somewhere/fastact/_kernels/avx2.cpython-311-x86_64-linux-gnu.so
cfn=(3) gelu
calls=1 0
12 7

ob=(3)
fn=(3)
0 7
"""


def test_callgrind_file_is_read():
    """What a called function took stands at its caller too, after ``calls=``, and counts once."""
    assert call_instructions.instructions_of(CALLGRIND) == {"all": 161, "core": 34, "kernel": 7}


def instructions(text):
    """Made-up machine code, one instruction a line, four bytes each."""
    parts = [line.strip().partition(" ") for line in text.strip().splitlines()]
    return [(4 * k, mnemonic, operands.strip()) for k, (mnemonic, _, operands) in enumerate(parts)]


LOOP = """
    mov     %rdi,%rax
    vmovups (%rsi,%rax,1),%ymm0
    vmovaps %ymm0,0x28(%rsp)
    vdivps  0x28(%rsp),%ymm0,%ymm0
    vmovups %ymm0,(%rdx,%rax,1)
    add     $0x20,%rax
    cmp     %rcx,%rax
    jne     4 <kernel+0x4>
    ret
"""


def test_cost_of_a_loop():
    cost = kernel_instructions.cost_of(instructions(LOOP), "float32")
    assert cost == {"instructions": 7 / 8, "division": 1 / 8, "branch": 1 / 8}
    assert kernel_instructions.cost_of(instructions(LOOP), "float64")["instructions"] == 7 / 4


@pytest.mark.parametrize(
    "before, after, elements",
    [
        ("add     $0x20,%rax", "sub     $0xffffffffffffff80,%rax", 32),
        ("(%rdx,%rax,1)", "(%rdx,%rax,4)", 32),
        ("(%rdx,%rax,1)", "(%rax)", 8),
        ("%ymm0,(%rdx,%rax,1)", "%ymm0,(%rdx,%rax,1){%k1}", 8),
        # where GCC prefetches: the next pass's address in another register, or made from a count of passes
        ("add     $0x20,%rax", "lea     0x40(%rax),%r9\n mov     %r9,%rax", 16),
        ("add     $0x20,%rax", "mov     %r9,%rax\n shl     $0x7,%rax\n inc     %r9", 32),
    ],
)
def test_elements_of_a_pass(before, after, elements):
    body = disassembly.simd_loop(instructions(LOOP.replace(before, after)))
    assert disassembly.elements_per_pass(body, "float32") == elements


def test_loop_that_cannot_be_read():
    with pytest.raises(ValueError, match="no loop works on packed registers only"):
        disassembly.simd_loop(instructions(LOOP.replace("divps", "divss")))
    with pytest.raises(ValueError, match="a pass goes on by nothing"):
        disassembly.elements_per_pass(instructions(LOOP.replace("add ", "nop ")), "float32")


@pytest.mark.parametrize(
    "mnemonic, operands, kind",
    [
        ("vfnmadd231pd", "%zmm1,%zmm2,%zmm3", "multiplication, FMA"),
        ("mulps", "%xmm1,%xmm2", "multiplication, FMA"),
        ("vsubpd", "%ymm1,%ymm2,%ymm3", "addition"),
        ("vcvtps2pd", "(%rax),%zmm1", "conversion"),
        ("vsqrtps", "%zmm1,%zmm2", "square root"),
        ("vdivpd", "%zmm1,%zmm2,%zmm3", "division"),
        ("vgatherdps", "%ymm1,(%rax,%ymm2,4),%ymm3", "gather"),
        ("vpgatherqq", "(%rax,%zmm2,8),%zmm3{%k1}", "gather"),
        ("vcmpnltps", "%zmm1,%zmm2,%k1", "comparison, choice"),
        ("vmovaps", "%zmm1,%zmm2{%k1}", "comparison, choice"),
        ("vmovups", "(%rax),%zmm2{%k1}{z}", "move"),
        ("vmovaps", "%zmm1,%zmm2", "move"),
        ("vpternlogd", "$0xe4,%zmm1,%zmm2,%zmm3", "logic"),
        ("andnpd", "%xmm1,%xmm2", "logic"),
        ("vpslld", "$0x17,%zmm1,%zmm2", "integer"),
        ("vpermt2ps", "%zmm1,%zmm2,%zmm3", "shuffle"),
        ("unpcklpd", "%xmm1,%xmm2", "shuffle"),
        ("vinsertf64x4", "$0x1,%ymm1,%zmm0,%zmm0", "shuffle"),
        ("jne", "4 <kernel+0x4>", "branch"),
        ("call", "1030 <expf@plt>", "branch"),
        ("sub", "$0x10,%rax", "other"),
        ("mov", "(%rdi),%rax", "other"),
    ],
)
def test_kind_of_an_instruction(mnemonic, operands, kind):
    assert kernel_instructions.kind_of(mnemonic, operands) == kind


@needs_gcc
@disassembly.reads_code
def test_slower_loop_costs_more(tmp_path):
    """A kernel with one more term, and one compiled to a quarter of the width, as this machine's compiler does it."""

    def cost(formula, *flags):
        source = tmp_path / "loop.c"
        source.write_text(
            "void loop(const float *restrict x, float *restrict y, long n) {\n"
            f"    for (long i = 0; i < (n & -16L); i++) y[i] = {formula};\n"
            "}\n"
        )
        library = compile_c([source], tmp_path / "loop.so", "-shared", "-fPIC", "-O3", *flags)
        code = disassembly.functions_of(library, lambda symbol: symbol if symbol == "loop" else None)
        return kernel_instructions.cost_of(code["loop"], "float32")

    stored = {"kernel": cost("x[i] * x[i] + x[i]", "-mavx2")}
    for slower in (
        cost("x[i] * x[i] * x[i] + x[i]", "-mavx2"),
        cost("x[i] * x[i] + x[i] / (1 + x[i])", "-mavx2"),
        cost("x[i] * x[i] + x[i]", "-msse2"),
    ):
        found = instruction_counts.changes(stored, {"kernel": slower}, instruction_counts.MARGINS["kernels"])
        assert any(change.fails for change in found)


@needs_gcc
@disassembly.reads_code
@pytest.mark.parametrize("flags, expected", [(["-g", "-fwrapv"], True), (["-g"], False), (["-g0", "-fwrapv"], None)])
def test_flags_of_a_build_are_read(tmp_path, flags, expected):
    source = tmp_path / "one.c"
    source.write_text("int one(void) { return 1; }\n")
    found = disassembly.build_flags(compile_c([source], tmp_path / "one.so", "-shared", "-fPIC", *flags))
    assert (found and "-fwrapv" in found) == expected
    assert not found or not any(word.startswith("-g") for word in found)
