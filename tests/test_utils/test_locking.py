"""Leases: who waits for whom, and for how long."""

import os
import socket
import threading
import time

import pytest

from mmpretrain_mps.utils import locking
from mmpretrain_mps.utils.locking import leased

pytestmark = pytest.mark.skipif(not hasattr(os, 'fork'), reason='makes processes by fork')


@pytest.fixture
def lease(tmp_path, monkeypatch):
    monkeypatch.setattr(locking, 'LEASE_SECONDS', 1.0)
    monkeypatch.setattr(locking, 'LEASE_POLL_SECONDS', 0.02)
    return tmp_path / 'cell.lease'


def in_a_process(act):
    """Do something in another process, which ends without letting go of anything; return its number."""
    number = os.fork()
    if number == 0:
        try:
            act()
        finally:
            os._exit(0)
    return number


def leave_behind(lease, host=None):
    """Have a process take the lease and end with it, on a machine of another name if one is given."""

    def take():
        if host:
            socket.gethostname = lambda: host
        with leased(lease):
            os._exit(0)

    os.waitpid(in_a_process(take), 0)
    assert lease.exists()


def seconds_to_take(lease):
    start = time.monotonic()
    with leased(lease):
        return time.monotonic() - start


def test_a_lease_is_waited_for_and_leaves_nothing_behind(lease):
    held, events = threading.Event(), []

    def hold():
        with leased(lease):
            held.set()
            time.sleep(2.5)  # longer than an unattended lease lasts
            events.append('let go')

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    with leased(lease):
        events.append('taken')
    thread.join()
    assert events == ['let go', 'taken'] and not lease.exists()


def test_what_an_ended_process_of_this_machine_left_behind_is_taken_at_once(lease):
    leave_behind(lease)
    assert seconds_to_take(lease) < 0.9


def test_what_a_machine_that_went_down_left_behind_is_taken_when_its_time_is_over(lease):
    leave_behind(lease, host='elsewhere')
    assert 1.0 <= seconds_to_take(lease) < 10 and not lease.exists()


def test_a_process_that_lost_its_lease_ends(lease, capfd):
    def hold():
        with leased(lease):
            time.sleep(60)

    holder = in_a_process(hold)
    deadline = time.monotonic() + 20
    while not lease.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    lease.unlink()
    _, status = os.waitpid(holder, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert 'cell.lease was lost (marker-missing): another process may have taken it over' in capfd.readouterr().err
