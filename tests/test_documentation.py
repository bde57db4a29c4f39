"""The words: docstrings are complete and their examples run; README's code runs; files that the documents name exist.

What is written about files, commands and versions is compared with the files, because prose is what goes stale first.
"""

import doctest
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from environments import has_sources
from interpreters import run_python

import fastact
from fastact import dispatch
from fastact.backends import numba_kernels

ROOT = Path(__file__).parents[1]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
#: Sections of numpydoc, in its order.
SECTIONS = ["Parameters", "Returns", "Raises", "Notes", "Examples"]
ACTIVATIONS = [
    name for name in fastact.__all__ if isinstance(getattr(fastact, name), fastact._core.ElementwiseFunction)
]
needs_sources = pytest.mark.skipif(not has_sources(), reason="names the sources, which are not beside the tests")
OTHERS = sorted(set(fastact.__all__) - set(ACTIVATIONS) - {"ufuncs"})


def sections_of(text):
    """{section: its lines} of a numpydoc text; what stands above the first section is under ""."""
    found, current = {"": []}, ""
    lines = inspect.cleandoc(text).splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if re.fullmatch(r"-{3,}", following) and len(following) == len(line):
            current = line
            found[current] = []
        elif not (current and re.fullmatch(r"-{3,}", line)):
            found[current].append(line)
    return found


def documented_names(lines):
    """Names of the parameters in a section."""
    heads = [line for line in lines if line and not line.startswith(" ")]
    return [head.partition(" : ")[0].lstrip("*") for head in heads]


def run_examples(text, name):
    """Run the examples of a docstring; return how many there were."""
    test = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    report = []
    result = doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert result.failed == 0, "".join(report)
    return result.attempted


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_docstring_of_an_activation_is_complete(name):
    function = getattr(fastact, name)
    sections = sections_of(function.__doc__)
    assert [section for section in sections if section] == SECTIONS
    assert all("".join(lines).strip() for lines in sections.values())
    assert sections[""][0].endswith((".", ":"))
    assert documented_names(sections["Parameters"]) == list(inspect.signature(function).parameters)
    assert documented_names(sections["Raises"])[:1] == ["TypeError"]


@pytest.mark.parametrize("name", OTHERS)
def test_docstring_of_another_function_is_complete(name):
    function = getattr(fastact, name)
    sections = sections_of(function.__doc__)
    signature = inspect.signature(function)
    assert re.fullmatch(r"[A-Z].*\.", sections[""][0])
    assert "Examples" in sections
    assert documented_names(sections.get("Parameters", [])) == list(signature.parameters)
    # a context manager is annotated with an iterator, and gives nothing
    gives_something = signature.return_annotation not in ("None", "Iterator[None]")
    assert ("Returns" in sections) == gives_something
    assert ("Raises" in sections) == bool(signature.parameters)


@pytest.mark.parametrize("name", [*ACTIVATIONS, *OTHERS])
def test_examples_of_a_docstring_run(name):
    assert run_examples(getattr(fastact, name).__doc__, name) > 0


@pytest.mark.skipif(dispatch.why_unavailable("numba") is not None, reason="needs Numba")
def test_examples_of_the_numba_ufuncs_run():
    assert run_examples(numba_kernels.vectorized.__doc__, "vectorized") > 0


def test_help_is_readable():
    assert "gelu(x, *, out=None, **ufunc_keywords)" in f"gelu{inspect.signature(fastact.gelu)}"
    assert inspect.getdoc(fastact.gelu).startswith("Gaussian error linear unit, exact.")


# --- the documents -------------------------------------------------------------------------------------------------


def blocks(document, language):
    """The fenced code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_python_code_runs(document):
    # one after the other, as a reader would type them
    script = "".join(blocks(document, "python"))
    assert document != "README.md" or script
    if script:
        run_python("import warnings\nwarnings.simplefilter('error')\n" + script, timeout=60)


def paths_named(text):
    """What looks like a path of this repository: link targets, and code in backticks with a folder or known suffix."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    code = [word for span in re.findall(r"`([^`\n]+)`", text) for word in span.split()]
    own = r"(fastact|src_cy|tests|tools|benchmarks|\.ci)/[\w./-]*|[\w-]+\.(toml|md|in)|setup\.py"
    return sorted({*links, *(word for word in code if re.fullmatch(own, word))})


@needs_sources
@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_exist(document):
    named = paths_named((ROOT / document).read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert document != "CONTRIBUTING.md" or named


def tree():
    """{path: what it is} of the directory tree that CONTRIBUTING.md opens with."""
    described, folders = {}, []
    for line in blocks("CONTRIBUTING.md", "text")[0].splitlines():
        indent, name, words = re.fullmatch(r"( *)(\S+)\s*(.*)", line).groups()
        folders[len(indent) // 2 :] = [name]
        described["".join(folders)] = words
    return described


@needs_sources
def test_tree_names_files_that_exist():
    missing = [path for path in tree() if not path.endswith("_core.so") and not list(ROOT.glob(path))]
    assert missing == []


@needs_sources
def test_tree_names_every_file():
    """But for formulas, which come with each family, and what is generated."""
    described = tree()
    patterns = [path for path in described if "*" in path]
    folders = ("fastact", "src_cy", "tests", "tools", "benchmarks", ".ci")
    suffixes = (".py", ".pyi", ".pyx", ".pxi", ".pxd", ".h", ".c", ".in", ".txt", "")
    files = [p for folder in folders for p in (ROOT / folder).rglob("*") if p.is_file() and p.suffix in suffixes]
    names = [str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts]
    unnamed = [
        name
        for name in names
        if name not in described and not any(Path(name).match(pattern) for pattern in patterns)
    ]  # fmt: skip
    assert unnamed == []
    assert [path for path, words in described.items() if not words and not path.endswith("/")] == []


def test_ci_runs_the_commands_of_the_readme():
    """.ci/run takes them out of README.md, so it cannot drift; here: that it finds both, and runs what it finds."""
    script = (ROOT / ".ci" / "run").read_text()
    command = re.search(r"^command_of\(\) \{.*?^\}$", script, re.MULTILINE | re.DOTALL)[0]
    readme = (ROOT / "README.md").read_text()
    for name in ("demo", "test"):
        done = subprocess.run(
            ["bash", "-c", f"{command}\ncommand_of {name}"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        marked = re.search(rf"<!-- command:{name} -->\n```bash\n(.*?)\n```", readme, re.DOTALL)[1]
        assert done.stdout.strip() == marked
        assert f'"$(command_of {name})"' in script
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == fastact.__version__
    assert f"## [{fastact.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
    assert set(re.findall(r'\.\[(\w+)\]"', (ROOT / "README.md").read_text())) <= set(project["optional-dependencies"])
    minor = project["requires-python"].removeprefix(">=")
    assert f"Python {minor}" in (ROOT / "README.md").read_text()
    assert sys.version_info >= tuple(map(int, minor.split(".")))


def test_readme_has_a_place_for_the_measured_table():
    text = (ROOT / "README.md").read_text()
    assert text.count("<!-- bench:begin -->") == text.count("<!-- bench:end -->") == 1
