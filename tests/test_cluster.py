"""Work on a real Dask cluster: the same outcomes as on this machine, whatever dies; one sentence when it cannot be."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepflash import cluster as cluster_module
from deepflash.batch import run_all
from deepflash.cluster import dask_workers
from deepflash.errors import ClusterError

from .clusters import ROOT, kill, local_cluster, until
from .test_batch import work


def nap(folder: str) -> str:
    """The unit that shows who works: leaves its number in `folder`, and takes its time."""
    path = Path(folder)
    path.touch()
    time.sleep(0.05)
    return path.name


def run(units: list, address: str, function=work, must_see: tuple[Path, ...] = ()) -> list:
    return list(run_all(function, units, workers=dask_workers(address, must_see)))


def test_a_cluster_does_what_this_machine_does_and_sets_aside_what_kills_workers(tmp_path: Path) -> None:
    units = [1, 2, "die", 3, "refuse", *range(4, 9), f"once {tmp_path / 'marker'}"]
    with local_cluster(tmp_path) as cluster:
        outcomes = run(units, cluster.address, must_see=(tmp_path,))

        with pytest.raises(KeyError) as caught:
            run(["bug"], cluster.address)
    assert caught.value.__notes__ == ["while working on bug"]
    assert outcomes == list(run_all(work, units, workers=2))
    assert [outcome.unit for outcome in outcomes if outcome.error] == ["die", "refuse"]
    assert "died 3 times" in (outcomes[2].error or "")


def test_killed_workers_and_a_lost_machine_cost_no_unit(tmp_path: Path) -> None:
    """First a worker is killed, whose nanny replaces it; then a nanny and its worker, which nobody replaces."""
    begun = tmp_path / "begun"
    begun.mkdir()
    units = [str(begun / f"{number:03d}") for number in range(60)]
    with local_cluster(tmp_path) as cluster:
        until(lambda: len(cluster.worker_pids()) == 2)
        outcomes = []
        for outcome in run_all(nap, units, workers=dask_workers(cluster.address)):
            outcomes.append(outcome)
            if len(outcomes) == 10:
                kill(cluster.worker_pids()[0])
            if len(outcomes) == 30:
                cluster.lose_machine(0)

    assert [(outcome.value, outcome.error) for outcome in outcomes] == [(Path(unit).name, None) for unit in units]


def test_what_a_cluster_lacks_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with local_cluster(tmp_path, workers=1) as cluster:
        with pytest.raises(ClusterError, match=r"cannot see /nowhere/raw; all machines of a cluster must share one file"):
            run([1], cluster.address, must_see=(tmp_path, Path("/nowhere/raw")))
        with monkeypatch.context() as patch:
            patch.setattr(cluster_module, "__version__", "9.9.9")
            with pytest.raises(ClusterError, match=r"runs deepflash \d.*, the caller 9.9.9; install the same version"):
                run([1], cluster.address)
        assert run([3], cluster.address)[0].value == 9, "the worker is none the worse for it"

        outcomes = run_all(nap, [str(tmp_path / f"{number}") for number in range(50)], workers=dask_workers(cluster.address))
        next(outcomes)
        kill(cluster.scheduler.pid)
        with pytest.raises(ClusterError, match="was lost; start it, and run the same command again"):
            list(outcomes)


def test_a_cluster_without_workers_is_not_waited_for_in_vain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "NO_WORKERS_FOR_S", 0.5)
    monkeypatch.setattr("deepflash.batch._LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(cluster_module, "_COUNT_EVERY_S", 0.2)
    with local_cluster(tmp_path, workers=0) as cluster, pytest.raises(ClusterError, match="has had no workers for"):
        run([1], cluster.address)


def test_a_machine_without_the_program_is_told_in_one_sentence(tmp_path: Path) -> None:
    """Neither scheduler nor worker can import deepflash; the worker says so, and lives."""
    hide = tmp_path / "hide.py"
    hide.write_text("import sys\nsys.modules['deepflash'] = None\n")
    with (
        local_cluster(tmp_path, workers=1, preload=hide) as cluster,
        pytest.raises(ClusterError, match=r"a worker of the cluster at .* lacks what it needs \(.*deepflash.*\); install"),
    ):
        run([1], cluster.address)


def test_addresses_that_lead_nowhere_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "CONNECT_WITHIN_S", 0.3)
    with pytest.raises(ClusterError, match="localhost is no address of a Dask scheduler; give one such as tcp://"):
        run([1], "localhost")
    with pytest.raises(ClusterError, match=r"none.json does not exist; `dask scheduler --scheduler-file"):
        run([1], str(tmp_path / "none.json"))
    with pytest.raises(ClusterError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1 "):
        run([1], "tcp://127.0.0.1:1")


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"pip install 'deepflash\[cluster\]'"):
        run([1], "tcp://127.0.0.1:8786")


def test_dask_is_not_loaded_before_it_is_asked_for() -> None:
    code = "import sys, deepflash.align.batch; print('distributed' in sys.modules or 'dask' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert loaded.stdout == "False\n"
