"""The runtime's callers, played: the same argv, environment, descriptors and signals.

Caller     what all of them have in common; `ask` runs one command as they do, with standard
           output and standard error in one pipe that has to end when the command does
Shim       containerd-shim-runc-v2
Docker     the shim behind the shell script that dockerd writes for runtimes with arguments
Conmon     conmon for Podman, and the commands that Podman runs itself
Crio       conmon for CRI-O, and the commands that CRI-O runs itself
Buildah    buildah's child that runs one RUN step
BuildKit   BuildKit's executor
"""

import hashlib
import json
import os
import signal
import socket
import subprocess

import prctl

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Caller:
    """A caller with one container; its id is 64 hexadecimal digits."""

    env: "dict[str, str]" = {"PATH": PATH}
    death_signal = signal.SIGKILL
    ignores_sigpipe = False

    def __init__(self, pyrunc, bundle):
        self.pyrunc = pyrunc
        self.bundle = bundle
        self.command = pyrunc.command
        self.id = self.new_id()
        self.cwd = "/"
        self.pipes = []
        bundle.linux["cgroupsPath"] = self.cgroup()

    def new_id(self):
        return hashlib.sha256(self.pyrunc.id().encode()).hexdigest()

    def cgroup(self):
        return f"/{self.pyrunc.prefix}{self.id}"

    def file(self, name):
        return f"{self.bundle.path}/{name}"

    def pid(self, name):
        """A pid file as Go's Atoi reads it: digits and nothing else."""
        with open(self.file(name), "rb") as file:
            content = file.read()
        assert content.isdigit(), content
        return int(content)

    def popen(self, args, env=None, **options):
        """The command with what a caller gives it, and nothing of ours."""

        def attributes():
            if self.death_signal:
                prctl.set_pdeathsig(self.death_signal)
            handler = signal.SIG_IGN if self.ignores_sigpipe else signal.SIG_DFL
            signal.signal(signal.SIGPIPE, handler)

        return subprocess.Popen(
            [self.command, *map(str, args)],
            env=self.env if env is None else env,
            cwd=self.cwd,
            restore_signals=False,
            preexec_fn=attributes,  # noqa: PLW1509 - tests have one thread
            **options,
        )

    def ask(self, *args, code=0, stdin=None, timeout=30, **options):
        """What one command says; the pipe must end soon after the command."""
        source = subprocess.DEVNULL if stdin is None else subprocess.PIPE
        process = self.popen(
            args, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
        )
        try:
            output = process.communicate(stdin and stdin.encode(), timeout)[0].decode()
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert process.returncode == code, f"{args}: {process.returncode} {output}"
        return output

    def silent(self, *args, **options):
        assert self.ask(*args, **options) == "", args

    def wired(self, *args, code=0, timeout=30, **options):
        """A command whose standard streams are the container's: pipes that the caller reads."""
        out, err = os.pipe(), os.pipe()
        process = self.popen(
            args, stdin=subprocess.DEVNULL, stdout=out[1], stderr=err[1], **options
        )
        os.close(out[1])
        os.close(err[1])
        self.pipes.append((open(out[0], "rb"), open(err[0], "rb")))
        status = process.wait(timeout)
        assert status == code, (args, status, code and self.drain())

    def drain(self):
        """(stdout, stderr) of the last `wired`, to their ends: a leaked write end would hang it."""
        texts = []
        for pipe in self.pipes.pop():
            with pipe:
                texts.append(pipe.read().decode())
        return tuple(texts)

    def close(self):
        for pipe in sum(self.pipes, ()):
            pipe.close()

    def process_file(self, name, *args, **changes):
        """A file for exec's --process."""
        path = self.file(name)
        with open(path, "w") as file:
            json.dump({**self.bundle.process, "args": list(args), **changes}, file)
        return path


class Shim(Caller):
    """Root per namespace, a log in the bundle that all commands share."""

    env = {
        "PATH": PATH,
        "GOMAXPROCS": "2",
        "OTEL_SERVICE_NAME": "containerd-shim",
        "MAX_SHIM_VERSION": "2",
        "TTRPC_ADDRESS": "/run/containerd/containerd.sock.ttrpc",
        "GRPC_ADDRESS": "/run/containerd/containerd.sock",
        "NAMESPACE": "k8s.io",
    }

    def globals(self):
        log = self.file("log.json")
        return ["--root", self.pyrunc.root, "--log", log, "--log-format", "json"]

    def ask(self, *args, **options):
        return super().ask(*self.globals(), *args, **options)

    def wired(self, *args, **options):
        super().wired(*self.globals(), *args, **options)

    def create_args(self, *options):
        bundle = self.bundle.save()
        return ["create", "--bundle", bundle, "--pid-file", f"{bundle}/init.pid", *options, self.id]

    def create(self, code=0):
        """Without a terminal."""
        self.wired(*self.create_args(), code=code)
        return self.pid("init.pid") if code == 0 else None

    def exec_args(self, name, file, *options):
        pid = ["--detach", "--pid-file", self.file(f"{name}.pid")]
        return ["exec", "--process", file, *options, *pid, self.id]

    def error(self):
        """The shim's own way to the reason: the last line of level error in the whole file."""
        found = None
        with open(self.file("log.json")) as file:
            for line in file:
                entry = {key.lower(): value for key, value in json.loads(line).items()}
                if entry["level"] == "error":
                    found = entry["msg"]
        return found


class Docker(Shim):
    """`exec runtime --debug --log FILE "$@"`: options come twice, the last one wins."""

    def __init__(self, pyrunc, bundle):
        super().__init__(pyrunc, bundle)
        self.first_log = f"{pyrunc.directory}/first.log"
        self.command = f"{pyrunc.directory}/wrapper"
        with open(self.command, "w") as file:
            file.write(f'#!/bin/sh\n{pyrunc.command} --debug --log {self.first_log} "$@"\n')
        os.chmod(self.command, 0o755)


class Conmon(Caller):
    """SIGPIPE is ignored; the log is read as one JSON object, or not at all."""

    ignores_sigpipe = True
    log_options = True

    def __init__(self, pyrunc, bundle):
        super().__init__(pyrunc, bundle)
        self.env = {
            "PATH": PATH,
            "XDG_RUNTIME_DIR": "",
            "_OCI_SYNCPIPE": "3",
            "_OCI_STARTPIPE": "4",
        }

    def cgroup(self):
        return f"/{self.pyrunc.prefix}libpod-{self.id}"

    def globals(self):
        return ["--log-format=json", "--log", self.file("oci-log")] if self.log_options else []

    def create(self, *options, code=0):
        bundle = self.bundle.save()
        pid = ["--pid-file", f"{bundle}/pidfile"]
        self.wired(
            *self.globals(), "create", "--bundle", bundle, *pid, *options, self.id, code=code
        )
        return self.pid("pidfile") if code == 0 else None

    def exec(self, file, *options, code=0):
        args = ["exec", "--pid-file", self.file("exec_pid"), "--process", file, "--detach"]
        self.wired(*self.globals(), *args, *options, self.id, code=code)
        return self.pid("exec_pid") if code == 0 else None

    def direct(self, *args, path=True, **options):
        """One of Podman's own commands: two variables or one, and the user's terminal."""
        env = {"XDG_RUNTIME_DIR": "", **({"PATH": PATH} if path else {})}
        return self.ask(*args, env=env, **options)

    def error(self):
        """Podman's own way: the whole file is one object."""
        with open(self.file("oci-log")) as file:
            return json.load(file)["msg"]


class Crio(Conmon):
    """No log file: only standard error tells."""

    log_options = False

    def __init__(self, pyrunc, bundle):
        super().__init__(pyrunc, bundle)
        self.env = {"CRI_O_EXTERNAL": "1", "PATH": PATH, "_OCI_SYNCPIPE": "3"}

    def cgroup(self):
        return f"/{self.pyrunc.prefix}crio-{self.id}"

    def globals(self):
        return [f"--root={self.pyrunc.root}"]

    def direct(self, *args, **options):
        env = {"CRI_O_EXTERNAL": "1", "PATH": PATH}
        prefix = ["--root", self.pyrunc.root, "--systemd-cgroup"]
        return self.ask(*prefix, *args, env=env, **options)


class Buildah(Caller):
    """The user's environment, the bundle as directory, names with dashes, the default root."""

    def __init__(self, pyrunc, bundle):
        super().__init__(pyrunc, bundle)
        self.env = {**os.environ, "XDG_RUNTIME_DIR": ""}
        self.cwd = bundle.path

    def new_id(self):
        return f"buildah-buildah{os.getpid()}"


class BuildKit(Caller):
    """A foreground `run --keep`: the runtime itself is the parent that matters."""

    def globals(self):
        root = ["--root", self.pyrunc.root]
        return [*root, "--log", self.file("runc-log.json"), "--log-format", "json"]


def listening(path):
    """A console socket whose owner accepts only later."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen(1)
    return sock
