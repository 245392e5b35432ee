"""lean: what a Ray of this machine begins without, and what a failed start leaves."""

import os
import subprocess
import sys

import pytest

from imgprep.engine.lean import end_half_started, lean_ray


def test_ray_is_asked_for_no_monitors_and_no_dashboard_while_it_starts():
    from ray._private import parameter, services

    before = parameter.RayParams, services.start_api_server
    with lean_ray():
        asked = parameter.RayParams(num_cpus=2)
        assert (asked.no_monitor, asked.include_log_monitor, asked.num_cpus) == (True, False, 2)
        assert services.start_api_server(False, False, port=1) == (None, None)
    assert (parameter.RayParams, services.start_api_server) == before
    with pytest.raises(RuntimeError), lean_ray():
        raise RuntimeError
    assert (parameter.RayParams, services.start_api_server) == before


@pytest.mark.parametrize("gone", ["RayParams", "start_api_server"])
def test_a_ray_with_other_insides_begins_as_ever(monkeypatch, gone):
    from ray._private import parameter, services

    module = parameter if gone == "RayParams" else services
    monkeypatch.delattr(module, gone)
    left = services.start_api_server if gone == "RayParams" else parameter.RayParams
    with lean_ray():
        assert left is (services.start_api_server if gone == "RayParams" else parameter.RayParams)
        assert not hasattr(module, gone)


def test_what_a_failed_start_leaves_ends_and_nothing_else():
    import ray

    home = os.path.dirname(ray.__file__)
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    of_ray, spared = (subprocess.Popen([*sleep, f"{home}/gcs_server"]) for _ in range(2))
    other = subprocess.Popen(sleep)
    try:
        end_half_started(spared.pid)
        assert of_ray.wait(20) < 0
        assert spared.poll() is None and other.poll() is None
    finally:
        for process in (of_ray, spared, other):
            process.kill()
            process.wait()
