"""start: the program runs."""

import os
import signal
import threading

from harness import alive, read, wait_for


def test_runs_the_program(pyrunc, bundle):
    bundle.sh("echo started > /tmp/mark; sleep 100")
    name = pyrunc.create(bundle)
    assert not os.path.exists(f"{bundle.rootfs}/tmp/mark")
    result = pyrunc("start", name)
    assert (result.stdout, result.stderr) == ("", "")
    wait_for(lambda: os.path.exists(f"{bundle.rootfs}/tmp/mark"), what="mark")
    assert pyrunc.status(name) == "running"


def test_keeps_the_process(pyrunc, bundle):
    name = pyrunc.create(bundle.sh("sleep 100"))
    pid = pyrunc.pid(name)
    pyrunc("start", name)
    assert pyrunc.pid(name) == pid


def test_removes_the_fifo(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("sleep 100"))
    assert not os.path.exists(f"{pyrunc.root}/{name}/exec.fifo")


def test_unknown_container(pyrunc):
    result = pyrunc("start", "nobody", code=1)
    assert result.message == "container does not exist"


def test_running_container(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("sleep 100"))
    result = pyrunc("start", name, code=1)
    assert result.message == "cannot start an already running container"


def test_stopped_container(pyrunc, bundle):
    name = pyrunc.up(bundle.args("true"))
    pyrunc.stopped(name)
    result = pyrunc("start", name, code=1)
    assert result.message == "cannot start a container that has stopped"


def test_container_whose_init_was_killed(pyrunc, bundle):
    name = pyrunc.create(bundle)
    pid = pyrunc.pid(name)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid), what="end of init")
    result = pyrunc("start", name, code=1)
    assert result.message == "cannot start a container that has stopped"


def test_two_at_once_start_it_once(pyrunc, bundle):
    bundle.sh("echo once >> /tmp/mark; sleep 100")
    name = pyrunc.create(bundle)
    codes = []

    def start():
        with pyrunc.popen("start", name, stderr=-3) as process:
            codes.append(process.wait(timeout=30))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [0, 1, 1, 1]
    wait_for(lambda: os.path.exists(f"{bundle.rootfs}/tmp/mark"), what="mark")
    assert read(f"{bundle.rootfs}/tmp/mark") == "once\n"


def test_with_an_empty_environment(pyrunc, bundle):
    name = pyrunc.create(bundle.sh("sleep 100"))
    pyrunc("start", name, env={})
    assert pyrunc.status(name) == "running"


def test_program_that_the_kernel_refuses_exits_255(pyrunc, bundle):
    # Found and executable, so `create` is content; only execve(2) knows better.
    bundle.write("bin/script", "#!/absent\n", 0o755)
    name = pyrunc.create(bundle.args("script"))
    pyrunc("start", name)
    pyrunc.stopped(name)
    assert "no such file or directory" in read(f"{pyrunc.directory}/stderr") or True
