"""How many threads: what is set, and where the number comes from if nobody has set it."""

import math
import os

import pytest
from cases import needs_threads
from interpreters import run_python

import fastact
from fastact import threads

needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no CPU affinity")

pytestmark = pytest.mark.usefixtures("number_restored")


@needs_threads
@pytest.mark.parametrize("count", [1, 2, 7, 1024])
def test_set_and_get(count):
    fastact.set_num_threads(count)
    assert fastact.get_num_threads() == count
    assert threads.origin == "set_num_threads"


@needs_threads
def test_context_manager_nests_and_restores():
    fastact.set_num_threads(2)
    with fastact.num_threads(3):
        assert fastact.get_num_threads() == 3
        with fastact.num_threads(1):
            assert fastact.get_num_threads() == 1
        assert fastact.get_num_threads() == 3
    assert fastact.get_num_threads() == 2


@needs_threads
def test_context_manager_restores_after_an_exception():
    fastact.set_num_threads(2)
    origin = threads.origin
    with pytest.raises(KeyError, match="mine"), fastact.num_threads(3):
        raise KeyError("mine")
    assert fastact.get_num_threads() == 2
    assert threads.origin == origin


@pytest.mark.parametrize("count", [0, -1, 1.5, 2.0, True, "2", None, 1025, 10**6, 10**30], ids=repr)
def test_wrong_number(count):
    before = fastact.get_num_threads()
    with pytest.raises(ValueError, match=rf"count: got {count!r}; accepted: an integer from 1 to 1024"):
        fastact.set_num_threads(count)
    with pytest.raises(ValueError, match="accepted: an integer from 1 to 1024"), fastact.num_threads(count):
        pytest.fail("entered the block")
    assert fastact.get_num_threads() == before


# -- where the number comes from --------------------------------------------------------------------------------------


@pytest.fixture
def clean_environment(monkeypatch):
    """Neither variable is set; eight CPUs, and no quota."""
    monkeypatch.delenv("FASTACT_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "cpus_allowed", lambda: 8)
    monkeypatch.setattr(threads, "cgroup_quota", lambda: math.inf)
    return monkeypatch


@pytest.mark.parametrize(
    "own, shared, expected",
    [
        ("3", "5", (3, "FASTACT_NUM_THREADS")),
        (" 3 ", None, (3, "FASTACT_NUM_THREADS")),
        ("20", None, (20, "FASTACT_NUM_THREADS")),
        (None, "5", (5, "OMP_NUM_THREADS")),
        (None, "20", (20, "OMP_NUM_THREADS")),
        (None, "5,2", (5, "OMP_NUM_THREADS")),
        # what OpenMP ignores is ignored
        (None, "", (8, "CPU affinity")),
        (None, "0", (8, "CPU affinity")),
        (None, "many", (8, "CPU affinity")),
        (None, None, (8, "CPU affinity")),
    ],
)
def test_environment_before_affinity(clean_environment, own, shared, expected):
    for name, value in (("FASTACT_NUM_THREADS", own), ("OMP_NUM_THREADS", shared)):
        if value is not None:
            clean_environment.setenv(name, value)
    assert threads.default_num_threads() == expected


@pytest.mark.parametrize(
    "quota, expected",
    [
        (0.2, (1, "cgroup quota")),
        (1.0, (1, "cgroup quota")),
        (2.5, (3, "cgroup quota")),
        (7.9, (8, "cgroup quota")),
        (8.0, (8, "CPU affinity")),
        (64.0, (8, "CPU affinity")),
    ],
)
def test_smaller_of_affinity_and_quota(clean_environment, quota, expected):
    clean_environment.setattr(threads, "cgroup_quota", lambda: quota)
    assert threads.default_num_threads() == expected


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "two", "", "1025", "2,2"], ids=repr)
def test_wrong_number_in_the_environment(clean_environment, value):
    clean_environment.setenv("FASTACT_NUM_THREADS", value)
    with pytest.raises(ValueError, match=r"FASTACT_NUM_THREADS: got .*; accepted: an integer from 1 to 1024"):
        threads.default_num_threads()


SHOW = "import fastact; print(fastact.get_num_threads(), fastact.threads.origin)"


@needs_threads
@needs_affinity
@pytest.mark.parametrize(
    "environment, expected",
    [
        ({"FASTACT_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, "3 FASTACT_NUM_THREADS"),
        ({"OMP_NUM_THREADS": "5"}, "5 OMP_NUM_THREADS"),
        ({}, "1 CPU affinity"),
    ],
    ids=["own", "shared", "affinity"],
)
def test_number_in_a_new_process(environment, expected):
    """One CPU is allowed, as under ``taskset``."""
    script = f"import os; os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})\n{SHOW}"
    assert run_python(script, environment=environment).strip() == expected


def test_import_refuses_a_wrong_environment():
    errors = run_python(SHOW, environment={"FASTACT_NUM_THREADS": "lots"}, succeeds=False)
    assert "ValueError: FASTACT_NUM_THREADS: got 'lots'; accepted: an integer from 1 to 1024" in errors


# -- control groups ---------------------------------------------------------------------------------------------------


def write_files(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    "membership, files, quota",
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/\n", {}, math.inf),
        ("0::/a/b\n", {"a/b/cpu.max": "50000 100000\n"}, 0.5),
        # the smallest on the way to the root holds, wherever it is
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "200000 100000\n"}, 2.0),
        ("0::/a/b\n", {"a/b/cpu.max": "300000 100000\n", "a/cpu.max": "200000 100000\n", "cpu.max": "max 1\n"}, 2.0),
        ("0::/a\n", {"a/cpu.max": "400000 100000\n", "a/b/cpu.max": "100000 100000\n", "c/cpu.max": "1 100\n"}, 4.0),
        # in a container the group's path is the host's, and the container's own group is the root
        ("0::/docker/1234\n", {"cpu.max": "250000 100000\n"}, 2.5),
        ("0::/../outside\n", {"cpu.max": "250000 100000\n"}, 2.5),
        ("0::/\n", {"cpu.max": "nonsense\n"}, math.inf),
        ("0::/a:b\n", {"a:b/cpu.max": "100000 100000\n"}, 1.0),
    ],
)
def test_cgroup_version_2(tmp_path, membership, files, quota):
    write_files(tmp_path, {"membership": membership})
    write_files(tmp_path / "cgroup", files)
    assert threads.cgroup_quota(tmp_path / "cgroup", tmp_path / "membership") == quota


MEMBERSHIP_1 = (
    "12:memory:/docker/1\n4:cpu,cpuacct:/docker/1\n3:cpuset:/docker/1\n1:name=systemd:/docker/1\n0::/system\n"
)


@pytest.mark.parametrize(
    "files, quota",
    [
        ({"cpu/docker/1/cpu.cfs_quota_us": "50000\n", "cpu/docker/1/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/docker/1/cpu.cfs_quota_us": "-1\n", "cpu/docker/1/cpu.cfs_period_us": "100000\n"}, math.inf),
        ({"cpu/docker/cpu.cfs_quota_us": "300000\n", "cpu/docker/cpu.cfs_period_us": "100000\n"}, 3.0),
        # the container's own group, mounted as the root
        ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "50000\n"}, 3.0),
        # other controllers' folders, and half a pair, say nothing
        ({"cpuset/docker/1/cpu.cfs_quota_us": "1\n", "cpuset/docker/1/cpu.cfs_period_us": "100000\n"}, math.inf),
        ({"cpu/docker/1/cpu.cfs_quota_us": "50000\n"}, math.inf),
        ({}, math.inf),
    ],
)
def test_cgroup_version_1(tmp_path, files, quota):
    write_files(tmp_path, {"membership": MEMBERSHIP_1})
    write_files(tmp_path / "cgroup", files)
    assert threads.cgroup_quota(tmp_path / "cgroup", tmp_path / "membership") == quota


def test_no_cgroups(tmp_path):
    assert threads.cgroup_quota(tmp_path / "cgroup", tmp_path / "membership") == math.inf
