"""The second broker: librdkafka's own stand-in. Workers that are killed lose nothing there either."""

import pytest
from killing import Killing, send

from imgprep.serve import practice
from imgprep.serve.events import BATCH, Topics


@pytest.mark.slow
def test_nothing_is_lost_on_a_second_broker_when_workers_are_killed(tmp_path):
    broker = practice.practice_broker()
    topics = Topics("killed.in", "killed.done", "killed.dead")
    bad = send(broker, topics.source, 150, bad_every=50)
    work = Killing(broker, topics, tmp_path / "media")
    found = work.run(150, kills=2, limit_s=150)
    assert (found.exit_codes, found.kills) == ([0, 0], 2)
    assert (found.lost, found.results_twice, found.letters) == (0, 0, bad)
    assert found.told_twice <= 2 * BATCH  # at most a batch per kill
