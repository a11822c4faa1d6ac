"""Compares pyrunc with runc and crun: the same bundle, the same verbs, one round after the other.

    make bench                       or  bench.py --pyrunc PATH [--rounds N] [--only NAME,...]

A round is a container's whole life, once per runtime, and the order of runtimes rotates, so that
what disturbs the machine disturbs all of them.  Time and memory are measured by measure.c.  The
table has medians, and the 95th percentile of the time; "8 at once" is 8 times `run`.  Below is the
memory of what stays, in KiB: a foreground `run`, and init of a created container.  engines.py
does the same through engines.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import prctl

HERE = os.path.dirname(os.path.abspath(__file__))
VERBS = ("create", "start", "state", "kill", "delete")
LOOKS = {
    "ps": ["--format", "json"],
    "list": [],
    "pause": [],
    "resume": [],
    "update": ["--pids-limit", "60"],
}
AT_ONCE = 8
TOGETHER = f"{AT_ONCE} at once"
ROWS = (*VERBS, "sum", "run", "exec", "exec again", "exec -d", *LOOKS, TOGETHER)
STAYS = ("run", "run Pss", "created", "created Pss")
WARM_UP = 3

# What Docker's profile refuses a container without capabilities: roughly this.
REFUSED = (
    "acct add_key bpf clock_adjtime clock_settime create_module delete_module fanotify_init "
    "finit_module fsconfig fsmount fsopen fspick get_mempolicy init_module ioperm iopl kcmp "
    "kexec_file_load kexec_load keyctl lookup_dcookie mbind mount mount_setattr move_mount "
    "move_pages name_to_handle_at nfsservctl open_by_handle_at open_tree perf_event_open "
    "pivot_root process_vm_readv process_vm_writev ptrace query_module quotactl quotactl_fd reboot "
    "request_key set_mempolicy setdomainname sethostname setns settimeofday swapoff swapon syslog "
    "umount umount2 unshare userfaultfd ustat vhangup vm86 vm86old clone clone3 personality socket"
).split()


def profile():
    """A filter like Docker's: an allow list of some 350 names, and a few rules on arguments."""
    headers = ["/usr/include/asm-generic/unistd.h"]
    headers += [f"/usr/include/{platform.machine()}-linux-gnu/asm/unistd_64.h"]
    names = set()
    for path in headers:
        if os.path.exists(path):
            with open(path) as file:
                words = [line.split()[1] for line in file if line.startswith("#define __NR")]
            names |= {word.removeprefix("__NR_") for word in words if word.startswith("__NR_")}
    allowed = sorted(name for name in names if name.islower() and name not in REFUSED)
    equal = [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"} for value in (0, 8, 0xFFFFFFFF)]
    rules = [{"names": allowed, "action": "SCMP_ACT_ALLOW"}]
    rules += [
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [argument]}
        for argument in equal
    ]
    masked = {"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    rules.append({"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [masked]})
    rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38})
    vsock = {"index": 0, "value": 40, "op": "SCMP_CMP_NE"}
    rules.append({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [vsock]})
    native = {"x86_64": "X86_64 X86 X32", "aarch64": "AARCH64 ARM"}[platform.machine()]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": [f"SCMP_ARCH_{name}" for name in native.split()],
        "syscalls": rules,
    }


def make_bundle(directory, pyrunc, args, seccomp):
    os.makedirs(f"{directory}/rootfs/bin")
    shutil.copy(shutil.which("busybox"), f"{directory}/rootfs/bin/busybox")
    for name in ("sh", "sleep", "true"):
        os.symlink("busybox", f"{directory}/rootfs/bin/{name}")
    subprocess.run([pyrunc, "spec"], cwd=directory, check=True)
    with open(f"{directory}/config.json") as file:
        config = json.load(file)
    config["ociVersion"] = "1.0.2"  # Debian's crun refuses newer ones
    config["process"].update(terminal=False, args=args)
    config["linux"]["resources"].update(memory={"limit": 128 << 20}, pids={"limit": 64})
    if seccomp:
        config["linux"]["seccomp"] = profile()
    with open(f"{directory}/config.json", "w") as file:
        json.dump(config, file)


class Bench:
    """The runtimes, a temporary directory, and the numbers: results[row][runtime] = samples."""

    def __init__(self, runtimes, directory):
        self.runtimes = runtimes
        self.directory = directory
        self.measure = [f"{directory}/measure"]
        if os.path.ismount("/sys/fs/cgroup/unified") and "crun" in runtimes:
            self.measure.append("-1")
        flags = ["-std=gnu11", "-O2", "-static", f"{HERE}/measure.c"]
        subprocess.run(["cc", *flags, "-o", self.measure[0]], check=True)
        self.results = {row: {name: [] for name in runtimes} for row in ROWS}
        self.stays = {row: {name: [] for name in runtimes} for row in STAYS}

    def begin(self, name, *args, output="measured"):
        """The process of measure.c that measures one call."""
        command = [*self.measure, f"{self.directory}/{output}", self.runtimes[name]]
        return subprocess.Popen(
            [*command, "--root", f"{self.directory}/{name}", *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def end(self, process, name, *args, output="measured"):
        """What it has measured: (milliseconds, CPU milliseconds, peak MiB)."""
        process.wait()
        with open(f"{self.directory}/{output}") as file:
            wall, user, system, peak, status = map(int, file.read().split())
        if status:
            sys.exit(f"{name} {' '.join(args)}: exit status {status}")
        return wall / 1e6, (user + system) / 1e3, peak / 1024

    def call(self, name, *args):
        """One call, measured."""
        return self.end(self.begin(name, *args), name, *args)

    def together(self, name, *args):
        """AT_ONCE calls at once, each with an id of its own: the time until all are done."""
        before = time.monotonic()
        calls = [
            (self.begin(name, *args, f"bench-{os.getpid()}-{n}", output=f"measured-{n}"), n)
            for n in range(AT_ONCE)
        ]
        each = [self.end(call, name, *args, output=f"measured-{n}") for call, n in calls]
        wall = (time.monotonic() - before) * 1e3
        return wall, sum(one[1] for one in each), max(one[2] for one in each)

    def waiting(self, name, kind, number):
        """The memory of a `run` that has been waiting for a second."""
        container = f"bench-{os.getpid()}-{number}"
        bundle = ["--bundle", f"{self.directory}/{kind}"]
        process = self.begin(name, "run", *bundle, container, output="waited")
        time.sleep(1)
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
            self.note("run", name, int(file.read()))
        self.call(name, "kill", container, "KILL")
        process.wait()

    def note(self, row, name, pid):
        """One sample of what stays: the resident set, and the share that is this process's."""
        with open(f"/proc/{pid}/smaps_rollup") as file:
            rows = dict(line.split(":") for line in file.read().splitlines()[1:])
        self.stays[row][name].append(int(rows["Rss"].split()[0]))
        self.stays[f"{row} Pss"][name].append(int(rows["Pss"].split()[0]))

    def life(self, name, kind, number):
        """A container's life; one sample per verb."""
        container = f"bench-{os.getpid()}-{number}"
        pid_file = f"{self.directory}/pid"
        bundle = ["--bundle", f"{self.directory}/{kind}"]
        samples = {"create": self.call(name, "create", *bundle, "--pid-file", pid_file, container)}
        with open(pid_file) as file:
            pid = int(file.read())
        os.unlink(pid_file)
        if number >= WARM_UP:
            self.note("created", name, pid)
        samples["start"] = self.call(name, "start", container)
        command = ["exec", container, "/bin/true"]
        others = {"exec": self.call(name, *command), "exec again": self.call(name, *command)}
        others["exec -d"] = self.call(name, "exec", "-d", "--pid-file", pid_file, *command[1:])
        with open(pid_file) as file:
            os.waitpid(int(file.read()), 0)  # or init could not end: it is in its pid namespace
        os.unlink(pid_file)
        for verb, args in LOOKS.items():
            target = [] if verb == "list" else [container]
            others[verb] = self.call(name, verb, *args, *target)
        samples["state"] = self.call(name, "state", container)
        samples["kill"] = self.call(name, "kill", container, "KILL")
        os.waitpid(pid, 0)  # we are the subreaper
        samples["delete"] = self.call(name, "delete", container)
        together = list(zip(*samples.values(), strict=True))
        samples["sum"] = (sum(together[0]), sum(together[1]), max(together[2]))
        run = ["run", "--bundle", f"{self.directory}/{kind}-run"]
        samples["run"] = self.call(name, *run, container)
        others[TOGETHER] = self.together(name, *run)
        return samples | others

    def rounds(self, kind, count):
        names = list(self.runtimes)
        for number in range(-WARM_UP, count):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                samples = self.life(name, kind, number + WARM_UP)
                if number >= 0:
                    for row, sample in samples.items():
                        self.results[row][name].append(sample)
        for name in names:
            self.waiting(name, kind, 0)


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


def table(title, results, names):
    """The rows of one bundle.  Ratios: how many times the other's median ours is."""
    others = [name for name in names if name != "pyrunc"]
    lines = []
    for row in ROWS:
        wall = {name: [sample[0] for sample in results[row][name]] for name in names}
        middle = {name: statistics.median(wall[name]) for name in names}
        cells = [f"{middle[name]:7.1f} {percentile(wall[name], 0.95):7.1f}" for name in names]
        for index, width in ((1, 7), (2, 7)):
            for name in names:
                value = statistics.median(sample[index] for sample in results[row][name])
                cells.append(f"{value:{width}.1f}")
        if "pyrunc" in names:
            cells += [f"{middle['pyrunc'] / middle[name]:8.2f}" for name in others]
        lines.append(f"{title + ' ' + row:18} " + " ".join(cells))
    return lines


def memory_table(title, stays, names):
    """The rows of what stays."""
    lines = []
    for row in STAYS:
        middle = {name: statistics.median(stays[row][name]) for name in names}
        cells = [f"{middle[name]:15.0f}" for name in names]
        lines.append(f"{title + ' ' + row:18} " + " ".join(cells))
    return lines


def heading(names):
    others = [name for name in names if name != "pyrunc"]
    first = " " * 18 + " " + " ".join(f"{name + ' ms':>15}" for name in names)
    second = " " * 18 + " " + " ".join(f"{'p50':>7} {'p95':>7}" for name in names)
    for unit in ("cpu ms", "peak MiB"):
        first += f" {unit:>{8 * len(names) - 1}}"
        second += " " + " ".join(f"{name:>7}" for name in names)
    if "pyrunc" in names and others:
        first += f" {'wall ratio':>{9 * len(others) - 1}}"
        second += "".join(f" {name:>8}" for name in others)
    return [first, second]


def engine_table(samples, reasons, names):
    """The rows of engines.compare(), and below why a runtime has no numbers."""
    others = [name for name in names if name != "pyrunc"]
    lines = []
    for row, found in samples.items():
        cells = []
        for name in names:
            wall = found[name]
            shown = [statistics.median(wall), percentile(wall, 0.95)] if wall else []
            cells += [f"{value:7.1f}" for value in shown] or [f"{'-':>7}"] * 2
        cells += [" " * 7] * 2 * len(names)
        for name in others if "pyrunc" in names else ():
            both = found["pyrunc"] and found[name]
            ratio = (
                statistics.median(found["pyrunc"]) / statistics.median(found[name]) if both else 0
            )
            cells.append(f"{ratio:8.2f}" if both else f"{'-':>8}")
        lines.append(f"{row:18} " + " ".join(cells))
    return lines + [f"- {row} with {name}: {why}" for (row, name), why in reasons.items()]


def version(path):
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    return next((line for line in lines if "pyrunc" in line), lines[0])


def find(names, pyrunc):
    """{name: path} of the runtimes to compare; this process becomes what inherits orphans."""
    if os.geteuid() != 0:
        sys.exit("a container needs root")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    prctl.set_child_subreaper(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    runtimes = {}
    for name in names.split(","):
        path = shutil.which(pyrunc if name == "pyrunc" else name)
        if path is None:
            sys.exit(f"{name} is not installed")
        runtimes[name] = os.path.abspath(path)
    return runtimes


def main():
    parser = argparse.ArgumentParser(description="compare pyrunc with runc and crun")
    parser.add_argument("--pyrunc", default="pyrunc", help="the command to measure")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--only", default="pyrunc,runc,crun", help="names, with commas")
    parser.add_argument("--no-engines", action="store_true", help="only the runtimes themselves")
    parser.add_argument("--json", help="also write every sample to this file")
    args = parser.parse_args()
    runtimes = find(args.only, args.pyrunc)
    print(f"{os.cpu_count()} CPUs, Linux {platform.release()}, {args.rounds} rounds")
    for name, path in runtimes.items():
        print(f"  {name}: {version(path)}")

    lines, samples = heading(list(runtimes)), {}
    stays = ["", f"{'what stays, KiB':18}" + "".join(f"{name:>16}" for name in runtimes)]
    with tempfile.TemporaryDirectory() as directory:
        spec = runtimes.get("pyrunc", next(iter(runtimes.values())))
        for kind in ("plain", "seccomp"):
            make_bundle(f"{directory}/{kind}", spec, ["sleep", "1000"], kind == "seccomp")
            make_bundle(f"{directory}/{kind}-run", spec, ["true"], kind == "seccomp")
            bench = Bench(runtimes, directory)
            bench.rounds(kind, args.rounds)
            lines += table(kind, bench.results, list(runtimes))
            stays += memory_table(kind, bench.stays, list(runtimes))
            samples[kind] = bench.results | bench.stays
    print("\n".join(lines))
    if not args.no_engines:
        import engines

        samples["engines"], reasons = engines.compare(runtimes, args.rounds, WARM_UP)
        print("\n".join(engine_table(samples["engines"], reasons, list(runtimes))))
    print("\n".join(stays))
    if args.json:
        with open(args.json, "w") as file:
            json.dump(samples, file)


if __name__ == "__main__":
    main()
