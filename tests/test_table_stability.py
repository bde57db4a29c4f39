"""Extensions that were built against an older ``fastact.h`` keep working, and those that cannot are told so clearly.

``c/fastact_api_N.h`` is the header as API version N was released; a release that appends to the table adds one, and
these tests take it up by themselves.  A stored header is never edited: when a test here fails, the header in the
package, or the package, is wrong.
"""

import re
import subprocess
import sys

import pytest
import table_calls
from cases import ALL_DTYPES, FUNCTIONS, assert_same_bits, parameter_sets, samples
from extensions import C_SOURCES, HEADERS, compile_c, compile_extension, needs_gcc
from interpreters import run_python
from table_calls import OK, dense_result

import fastact

pytestmark = needs_gcc
harness, harness_file = table_calls.harness, table_calls.harness_file

PRESENT = HEADERS / "fastact.h"
STORED = sorted(C_SOURCES.glob("fastact_api_*.h"))


# --- what a header says -----------------------------------------------------------------------------------------------


def code_of(header):
    """The header's text without comments, all white space the same."""
    return " ".join(re.sub(r"/\*.*?\*/|//[^\n]*", " ", header.read_text(), flags=re.DOTALL).split())


def fields_of(code, struct):
    """Names and types of a struct's fields, in order."""
    body = re.search(rf"typedef struct {struct} {{(.*?)}} {struct} ?;", code)[1]
    fields = []
    for declaration in filter(None, map(str.strip, body.split(";"))):
        pointer_to_function = re.fullmatch(r"(.*?)\(\*(\w+)\)(\(.*\))", declaration)
        if pointer_to_function:
            result, name, arguments = pointer_to_function.groups()
            fields.append((name, f"{result}(*){arguments}"))
            continue
        first, *others = declaration.split(",")
        kind, name = re.fullmatch(r"(.*?)(\w+)", first).groups()
        assert not (others and "*" in declaration), f"{declaration}: not understood"
        fields += [(each.strip(), kind.strip()) for each in (name, *others)]
    return fields


def structs_of(code):
    """Names of all structs, and whether each may grow at its end: it tells its own size, so both sides can know."""
    names = re.findall(r"} (fastact_\w+) ?;", code)
    return {name: fields_of(code, name)[0] == ("size", "size_t") for name in names}


def numbers_of(code):
    """Names and values of all enumerators that are written down."""
    bodies = re.findall(r"enum (?:\w+ )?{(.*?)}", code)
    return {name: int(value) for body in bodies for name, value in re.findall(r"(FASTACT_\w+) = (\d+)", body)}


def macro(code_or_header, name):
    text = code_or_header if isinstance(code_or_header, str) else code_or_header.read_text()
    return re.search(rf"#define {name} (\"[^\"]*\"|\w+)", text)[1]


def version_of(header):
    return int(macro(header, "FASTACT_API_VERSION").rstrip("u"))


def stored_header(function):
    return pytest.mark.parametrize("stored", STORED, ids=lambda header: header.stem)(function)


def test_the_reader_understands_the_header():
    """So that an empty list is not taken for a stable one."""
    code = code_of(STORED[0])
    assert structs_of(code) == {
        "fastact_input": False,
        "fastact_output": False,
        "fastact_call": True,
        "fastact_table": True,
    }
    assert fields_of(code, "fastact_input") == [
        ("data", "const void *"),
        ("row_step", "ptrdiff_t"),
        ("step", "ptrdiff_t"),
    ]
    assert [name for name, _ in fields_of(code, "fastact_call")][:4] == ["size", "rows", "columns", "inputs"]
    table = dict(fields_of(code, "fastact_table"))
    assert list(table)[:4] == ["size", "abi_version", "api_version", "version"]
    assert list(table)[4:] == [
        "find",
        "kernel",
        "apply",
        "run",
        "get_threads",
        "set_threads",
        "instruction_set",
        "message",
    ]
    assert table["find"] == "const fastact_function *(*)(const char *activation, int direction)"
    numbers = numbers_of(code)
    assert len(numbers) == 13 + 3 + 3 + 1
    assert numbers["FASTACT_OK"] == 0 and numbers["FASTACT_ERROR_VERSION"] == 12 and numbers["FASTACT_GRANULE"] == 16


@stored_header
def test_fields_are_only_appended(stored):
    old, new = code_of(stored), code_of(PRESENT)
    for struct, may_grow in structs_of(old).items():
        before, now = fields_of(old, struct), fields_of(new, struct)
        assert now[: len(before)] == before, struct
        assert may_grow or len(now) == len(before), struct
    old_table, new_table = fields_of(old, "fastact_table"), fields_of(new, "fastact_table")
    # a table that has grown has another version, and the other way around
    assert (len(new_table) > len(old_table)) == (version_of(PRESENT) > version_of(stored))
    assert version_of(PRESENT) >= version_of(stored)
    kernel = r"typedef void \(\*fastact_kernel\)\([^)]*\)"
    assert re.search(kernel, new)[0] == re.search(kernel, old)[0]


@stored_header
def test_numbers_and_names_stay(stored):
    assert numbers_of(code_of(PRESENT)).items() >= numbers_of(code_of(stored)).items()
    for name in ("FASTACT_ABI_VERSION", "FASTACT_CAPSULE"):
        assert macro(PRESENT, name) == macro(stored, name)
    assert stored.name == f"fastact_api_{version_of(stored)}.h"


@stored_header
def test_layout_stays(stored, tmp_path):
    """The compiler's own answer: sizes and places of all stored fields, and values of all stored names."""
    code = code_of(stored)
    lines = ["#define FASTACT_NO_PYTHON", "#include <stdio.h>", '#include "fastact.h"', "int main(void) {"]
    for struct, may_grow in structs_of(code).items():
        if not may_grow:
            lines.append(f'printf("{struct} %zu\\n", sizeof({struct}));')
        for field, _ in fields_of(code, struct):
            place = f"offsetof({struct}, {field}), sizeof((({struct} *)0)->{field})"
            lines.append(f'printf("{struct}.{field} %zu %zu\\n", {place});')
    lines += [f'printf("{name} %d\\n", (int){name});' for name in numbers_of(code)]
    source = tmp_path / "layout.c"
    source.write_text("\n".join([*lines, "return 0; }", ""]))
    printed = []
    for name, header in (("old", stored), ("new", PRESENT)):
        program = compile_c([source], tmp_path / name, headers=header_folder(tmp_path / f"{name}_headers", header))
        printed.append(subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines())
    assert printed[0] == printed[1]
    assert len(printed[0]) == len(lines) - 4


def header_folder(folder, header, text=None):
    """A folder with this header, or this text of it, under the name by which it is included."""
    folder.mkdir()
    (folder / "fastact.h").write_text(header.read_text() if text is None else text)
    return folder


def test_package_is_built_from_its_header(harness, tmp_path):
    assert harness.api_version() == version_of(PRESENT)
    assert f"{harness.abi_version()}u" == macro(PRESENT, "FASTACT_ABI_VERSION")
    source = tmp_path / "size.c"
    source.write_text(
        "#define FASTACT_NO_PYTHON\n#include <stdio.h>\n#include <fastact.h>\n"
        'int main(void) { printf("%zu", sizeof(fastact_table)); return 0; }\n'
    )
    printed = subprocess.run([compile_c([source], tmp_path / "size")], capture_output=True, check=True)
    assert harness.table_size() == int(printed.stdout)


# --- extensions built against other headers ---------------------------------------------------------------------------


@stored_header
def test_older_extension_works(stored, tmp_path):
    """Every function, and every field of the stored table is called."""
    headers = header_folder(tmp_path / "headers", stored)
    harness = table_calls.Harness(table_calls.compile_harness(tmp_path, headers=headers))
    for function in FUNCTIONS:
        parameters = parameter_sets(function.row, function.direction)[0] if function.scalar_names else None
        for dtype in ALL_DTYPES:
            x = abs(samples(dtype, 100))
            arrays = [x] * (len(function.array_names) + len(function.operand_names))
            expected = dense_result(function, arrays, parameters or ())
            for call in (harness.apply_to, harness.run_on):
                results = [x * 0 for _ in expected]
                assert call(function, arrays, results, parameters) == OK, harness.message()
                for got, result in zip(results, expected, strict=True):
                    assert_same_bits(got, result, function.name)
    assert harness.get_threads() == fastact.get_num_threads()
    assert harness.set_threads(0) == table_calls.THREADS
    assert harness.message().startswith(b"count: got 0")
    assert harness.instruction_set().decode() == fastact.dispatch.instruction_set()


IMPORT = """
import importlib.util
specification = importlib.util.spec_from_file_location("table_harness", %r)
try:
    importlib.util.module_from_spec(specification)
except ImportError as error:
    print(type(error).__name__, error, sep=": ", end="")
else:
    print("imported", end="")
"""


def test_newer_extension_is_refused(tmp_path):
    """Built against a header whose table has one function more."""
    version = version_of(PRESENT)
    text = PRESENT.read_text().replace(f"FASTACT_API_VERSION {version}u", f"FASTACT_API_VERSION {version + 1}u")
    text = text.replace("} fastact_table;", "    int (*appended)(void);\n} fastact_table;")
    assert "appended" in text
    file = table_calls.compile_harness(tmp_path, headers=header_folder(tmp_path / "headers", None, text))
    assert run_python(IMPORT % str(file)) == (
        f"ImportError: this extension module was built for API {version + 1} of fastact or newer, and the installed "
        f"fastact {fastact.__version__} has API {version}; pip install --upgrade fastact"
    )


def test_extension_of_another_abi_is_refused(tmp_path):
    abi = int(macro(PRESENT, "FASTACT_ABI_VERSION").rstrip("u"))
    text = PRESENT.read_text().replace(f"FASTACT_ABI_VERSION {abi}u", f"FASTACT_ABI_VERSION {abi + 1}u")
    file = table_calls.compile_harness(tmp_path, headers=header_folder(tmp_path / "headers", None, text))
    assert run_python(IMPORT % str(file)) == (
        f"ImportError: this extension module was built for ABI {abi + 1} of fastact, and the installed fastact "
        f"{fastact.__version__} has ABI {abi}; build the extension again"
    )


@pytest.mark.parametrize("core", ["", "_C_API = None\n", None], ids=["no table", "another thing", "no core"])
def test_package_without_a_table(harness_file, tmp_path, core):
    """As a fastact from before the C interface is, or something else of that name."""
    package = tmp_path / "path" / "fastact"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("" if core is None else "from . import _core\n")
    if core is not None:
        (package / "_core.py").write_text(core)
    assert run_python(IMPORT % str(harness_file), path=tmp_path / "path") == (
        "ImportError: the installed fastact has no C interface, which this extension module was built for; "
        "pip install --upgrade fastact"
    )


def test_no_package(harness_file):
    # without site-packages and PYTHONPATH there is no fastact, whichever way it is installed
    command = [sys.executable, "-I", "-S", "-c", IMPORT % str(harness_file)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == "ModuleNotFoundError: No module named 'fastact'"


def test_package_that_does_not_import(harness_file):
    """The reason is not lost: here an environment variable that the package refuses."""
    errors = run_python(IMPORT % str(harness_file), environment={"FASTACT_BACKEND": "nonsense"}, succeeds=False)
    assert "ValueError: FASTACT_BACKEND: got 'nonsense'" in errors


# --- the header in other people's compilers ---------------------------------------------------------------------------

ALONE = "#include <fastact.h>\n"
USE = """
int use(const float *x, float *y);
int use(const float *x, float *y)
{
    const void *inputs[1];
    void *outputs[1];
    inputs[0] = x;
    outputs[0] = y;
    return fastact_apply(fastact_api->find("gelu", FASTACT_FORWARD), FASTACT_FLOAT32, inputs, outputs, 16, NULL, 0, 0);
}
"""


@pytest.mark.parametrize("language", ["c", "c++"])
@pytest.mark.parametrize("defined", ["", "FASTACT_NO_PYTHON"], ids=["with Python", "without"])
@pytest.mark.parametrize("flags", [[], ["-fopenmp"]], ids=["", "OpenMP"])
@pytest.mark.parametrize("text", [ALONE, ALONE * 2, ALONE * 2 + USE], ids=["alone", "twice", "used"])
def test_header_compiles_without_a_warning(tmp_path, language, defined, flags, text):
    source = tmp_path / f"unit.{'c' if language == 'c' else 'cpp'}"
    source.write_text((f"#define {defined}\n" if defined else "") + text)
    flags = [*flags, "-c", "-Wshadow", "-Wstrict-prototypes"] if language == "c" else [*flags, "-c", "-Wshadow"]
    compile_c([source], tmp_path / "unit.o", *flags, language=language)


TWO_UNITS = {
    "first": """
#define FASTACT_API_GLOBAL
#include <fastact.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "two_units", NULL, -1, NULL, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_two_units(void)
{
    return fastact_import() < 0 ? NULL : PyModule_Create(&module);
}
""",
    "second": """
#define FASTACT_API_EXTERN
#define FASTACT_NO_PYTHON
#include <fastact.h>
#ifdef __cplusplus
extern "C"
#endif
int second_unit(const void *const *inputs, void *const *outputs, ptrdiff_t count);
int second_unit(const void *const *inputs, void *const *outputs, ptrdiff_t count)
{
    return fastact_apply(fastact_api->find("tanh", FASTACT_FORWARD), FASTACT_FLOAT64, inputs, outputs, count, NULL,
                         0, 0);
}
""",
}


@pytest.mark.parametrize("language", ["c", "c++"])
def test_one_import_for_two_units(tmp_path, language):
    """FASTACT_API_GLOBAL in one, FASTACT_API_EXTERN in the other, which knows nothing of Python."""
    sources = []
    for name, text in TWO_UNITS.items():
        sources.append(tmp_path / f"{name}.{'c' if language == 'c' else 'cpp'}")
        sources[-1].write_text(text)
    file = compile_extension(sources, tmp_path, "two_units", language=language)
    script = """
    import ctypes, importlib.util
    import numpy as np
    import fastact
    specification = importlib.util.spec_from_file_location("two_units", %r)
    importlib.util.module_from_spec(specification)
    x, y = np.linspace(-3, 3, 40), np.zeros(40)
    pointers = [(ctypes.c_void_p * 1)(array.ctypes.data) for array in (x, y)]
    assert ctypes.CDLL(%r).second_unit(*pointers, ctypes.c_ssize_t(40)) == 0
    assert (y == fastact.tanh(x)).all()
    """
    run_python(script % (str(file), str(file)))
