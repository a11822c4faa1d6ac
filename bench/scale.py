"""What a verb costs while 0, 100, ... 1000 other containers live: pyrunc, runc, then crun.

    make bench-scale                 or  scale.py --pyrunc PATH [--live N] [--step N] [--rounds N]

Each runtime makes all the living ones itself, in a --root of its own.  At every step one more
container has its whole life, a few times over: the table has the lowest, in ms of wall time, for
what disturbs a machine can only add to it.  Below it, the memory that a container costs while it
waits to be started.
"""

import argparse
import os
import subprocess
import tempfile

from bench import Bench, find, make_bundle

VERBS = ("create", "start", "state", "list", "exec", "kill", "delete")


class Crowd:
    """The living containers of one runtime; they are gone when the block ends."""

    def __init__(self, bench, name):
        self.bench = bench
        self.name = name
        self.pids = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # A guest is there only if we were interrupted.
        command = [self.bench.runtimes[self.name], "--root", f"{self.bench.directory}/{self.name}"]
        subprocess.run(
            [*command, "delete", "--force", self._id("guest")],
            check=False,
            stderr=subprocess.DEVNULL,
        )
        for number, pid in enumerate(self.pids):
            self._call("kill", self._id(number), "KILL")
            os.waitpid(pid, 0)  # we are the subreaper
            self._call("delete", self._id(number))

    def _call(self, *args):
        return self.bench.call(self.name, *args)

    def _id(self, number):
        return f"scale-{os.getpid()}-{number}"

    def _create(self, id):
        """(milliseconds, pid of the container's process)."""
        pid_file = f"{self.bench.directory}/pid"
        bundle = f"{self.bench.directory}/bundle"
        took = self._call("create", "--bundle", bundle, "--pid-file", pid_file, id)[0]
        with open(pid_file) as file:
            pid = int(file.read())
        os.unlink(pid_file)
        return took, pid

    def grow(self, count):
        """Until so many live."""
        while len(self.pids) < count:
            id = self._id(len(self.pids))
            self.pids.append(self._create(id)[1])
            self._call("start", id)

    def life(self):
        """{verb: milliseconds} of one more container, which does not stay."""
        id = self._id("guest")
        took = {}
        took["create"], pid = self._create(id)
        for verb, *args in (
            ("start", id),
            ("state", id),
            ("list",),
            ("exec", id, "/bin/true"),
            ("kill", id, "KILL"),
        ):
            took[verb] = self._call(verb, *args)[0]
        os.waitpid(pid, 0)
        took["delete"] = self._call("delete", id)[0]
        return took

    def waiting(self):
        """KiB that a created container costs: (its process, its cgroup with the kernel's part)."""
        id = self._id("guest")
        pid = self._create(id)[1]
        rows = read(f"/proc/{pid}/smaps_rollup").splitlines()
        own = next(int(row.split()[1]) for row in rows if row.startswith("Pss:"))
        rows = [row.split(":", 2) for row in read(f"/proc/{pid}/cgroup").splitlines()]
        path = {names: path for _, names, path in rows}
        if "memory" in path:
            charged = read(f"/sys/fs/cgroup/memory{path['memory']}/memory.usage_in_bytes")
        else:
            charged = read(f"/sys/fs/cgroup{path['']}/memory.current")
        self._call("delete", id)
        os.waitpid(pid, 0)
        return own, int(charged) // 1024


def read(path):
    with open(path) as file:
        return file.read()


def line(first, values):
    return f"{first:>12} " + " ".join(f"{value:>8}" for value in values)


def main():
    parser = argparse.ArgumentParser(description="what verbs cost beside many containers")
    parser.add_argument("--pyrunc", default="pyrunc", help="the command to measure")
    parser.add_argument("--only", default="pyrunc,runc,crun", help="names, with commas")
    parser.add_argument("--live", type=int, default=1000)
    parser.add_argument("--step", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    runtimes = find(args.only, args.pyrunc)
    with tempfile.TemporaryDirectory() as directory:
        spec = runtimes.get("pyrunc", next(iter(runtimes.values())))
        make_bundle(f"{directory}/bundle", spec, ["sleep", "1000000"], seccomp=False)
        bench = Bench(runtimes, directory)
        for name in runtimes:
            print(line(name, VERBS))
            with Crowd(bench, name) as crowd:
                for count in range(0, args.live + 1, args.step):
                    crowd.grow(count)
                    lives = [crowd.life() for _ in range(args.rounds)]
                    lowest = [min(one[verb] for one in lives) for verb in VERBS]
                    print(line(count, (f"{value:.1f}" for value in lowest)), flush=True)
                own, charged = crowd.waiting()
            print(f"a created container waits in {own} KiB, with the kernel's part {charged} KiB\n")


if __name__ == "__main__":
    main()
