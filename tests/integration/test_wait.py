"""wait: block until containers have stopped, and tell their exit statuses as far as one can."""

import os
import subprocess
import time

import pytest

from harness import read, wait_for

# From this release on, who holds a pidfd learns the status even after the parent took it.
TOLD_LATER = tuple(int(part) for part in os.uname().release.split(".")[:2]) >= (6, 15)


@pytest.fixture
def waiting(pyrunc, tmp_path):
    """waiting(*args): a `wait` that has begun."""
    children = []

    def start(*args):
        with open(tmp_path / f"wait{len(children)}", "wb") as output:
            child = pyrunc.popen("wait", *args, stdin=subprocess.DEVNULL, stdout=output)
        child.output = lambda path=output.name: read(path)
        children.append(child)
        wait_for(
            lambda: any("pidfd" in link for link in links(child.pid)) or child.poll() is not None,
            what="wait at work",
        )
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()


def links(pid):
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)])
def test_status_of_one_that_ends_meanwhile(pyrunc, bundle, waiting, script, status):
    # Of a shell that is the first in its pid namespace kill(2) would be ignored.
    bundle.namespace("pid", False).sh(f"while ! test -e /go; do sleep 0.01; done; {script}")
    child = waiting(pyrunc.up(bundle))
    bundle.write("go", "")
    assert child.wait(10) == 0
    assert child.output() == f"{status}\n"


def test_created_one(pyrunc, bundle, waiting):
    name = pyrunc.create(bundle)
    child = waiting(name)
    assert child.poll() is None
    pyrunc("delete", "--force", name)
    assert child.wait(10) == 0
    assert child.output() == "137\n"


def test_zombie_tells_its_status(pyrunc, bundle, reaper):
    """As long as nobody has waited for the process, any kernel does."""
    name = pyrunc.up(bundle.sh("exit 9"))
    pyrunc.stopped(name)
    assert pyrunc("wait", name).stdout == "9\n"
    assert reaper()


def test_reaped_one_is_a_stranger(pyrunc, bundle, reaper):
    name = pyrunc.up(bundle.sh("exit 9"))
    pyrunc.stopped(name)
    for pid in reaper():
        os.waitpid(pid, 0)
    result = pyrunc("wait", "--timeout", "0", name)
    assert (result.stdout, result.stderr) == ("unknown\n", "")


def test_status_after_the_parent_took_it(pyrunc, bundle, reaper, waiting):
    """wait is stopped while both happen, so it cannot be the faster one."""
    name = pyrunc.up(bundle.sh("while ! test -e /go; do sleep 0.01; done; exit 5"))
    child = waiting(name)
    child.send_signal(19)
    bundle.write("go", "")
    pyrunc.stopped(name)
    for pid in reaper() - {child.pid}:
        os.waitpid(pid, 0)
    child.send_signal(18)
    assert child.wait(10) == 0
    assert child.output() == ("5\n" if TOLD_LATER else "unknown\n")


def test_several_in_the_order_given(pyrunc, bundle, waiting):
    script = "while ! test -e /{0}; do sleep 0.01; done; exit {0}"
    names = [pyrunc.up(bundle.sh(script.format(number))) for number in (1, 2, 3)]
    child = waiting(*names)
    bundle.write("3", "")
    pyrunc.stopped(names[2])
    assert child.poll() is None
    assert child.output() == ""
    bundle.write("1", "")
    wait_for(lambda: child.output() == "1\n", what="first status")
    bundle.write("2", "")
    assert child.wait(10) == 0
    assert child.output() == "1\n2\n3\n"


def test_the_same_one_twice(pyrunc, bundle, reaper):
    name = pyrunc.up(bundle.sh("exit 4"))
    assert pyrunc("wait", name, name).stdout == "4\n4\n"
    assert reaper()


def test_time_is_over(pyrunc, bundle, reaper):
    done = pyrunc.up(bundle.sh("exit 3"))
    pyrunc.stopped(done)
    name = pyrunc.up(bundle.sh("sleep 100"))
    begin = time.monotonic()
    result = pyrunc("wait", "--timeout=300ms", done, name, code=124)
    assert 0.3 <= time.monotonic() - begin < 5
    assert result.stdout == "3\n"
    assert result.message == f"timeout after 0.3 s: container {name} not stopped"
    assert pyrunc("wait", "--timeout=0", name, name, code=124).message == (
        f"timeout after 0 s: containers {name}, {name} not stopped"
    )
    assert pyrunc.status(name) == "running"
    pyrunc("delete", "--force", name)
    assert reaper()


def test_paused_one_has_not_stopped(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("sleep 100"))
    pyrunc("pause", name)
    pyrunc("wait", "--timeout", "50ms", name, code=124)


def test_refusals(pyrunc, bundle):
    name = pyrunc.create(bundle)
    result = pyrunc("wait", name, "nobody", code=1)  # before it waits for anybody
    assert (result.stdout, result.message) == ("", "container does not exist")
    assert pyrunc("wait", "--timeout=-1s", name, code=1).message == "timeout must not be negative"
    assert '"wait" requires a minimum of 1 argument(s)' in pyrunc("wait", code=1).message


def test_reader_that_went_away(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("sleep 100"))
    with pyrunc.popen("wait", name, stdout=subprocess.PIPE) as child:
        wait_for(lambda: any("pidfd" in link for link in links(child.pid)), what="wait at work")
        child.stdout.close()
        pyrunc("kill", name, "KILL")
        assert child.wait(10) == 141
