"""Another runtime with the same configuration: what differs afterwards.

Pair         two runtimes; each container is made twice, with the same config.json
settings()   every file of a container's cgroups that can be set, with its value
differences()   of two mappings, by key
shape()      a JSON document without its values: which keys, in which order, which types
"""

import os
import stat

from harness import read

# They can be written, but what they say is measured, or names processes.
MEASURED = (".failcnt", "max_usage_in_bytes", ".peak", ".pressure", "cpuacct.usage")
MEMBERS = {"cgroup.procs", "cgroup.threads", "tasks"}
# They cannot be written, and tell a setting all the same.
ALSO = {"devices.list", "cpuset.effective_cpus", "cpuset.effective_mems", "cgroup.controllers"}
ALSO |= {"cpuset.cpus.effective", "cpuset.mems.effective", "freezer.self_freezing"}


def settings(paths):
    """{file: content} of the cgroups {controller: directory}; a file has one owner on v1."""
    found = {}
    for controller, folder in paths.items():
        for name in sorted(os.listdir(folder)):
            mode = os.lstat(f"{folder}/{name}").st_mode
            if not stat.S_ISREG(mode) or name in MEMBERS or name.endswith(MEASURED):
                continue
            if name not in ALSO and mode & 0o600 != 0o600:
                continue
            try:
                text = read(f"{folder}/{name}")
            except OSError as err:  # such as a pressure that is not measured
                text = f"errno {err.errno}"
            # An order that the kernel makes of the time of writing is no setting.
            lines = sorted(text.splitlines()) if name == "devices.list" else text.splitlines()
            found[f"{controller}/{name}" if name.startswith("cgroup.") else name] = lines
    return found


def differences(one, other):
    """{key: (value in one, value in other)}, None for a missing key."""
    keys = [*one, *(key for key in other if key not in one)]
    return {key: (one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)}


def shape(value, path=""):
    """The document without its values: each path and its type, in order; of a list, one entry."""
    if isinstance(value, dict):
        return [row for key, each in value.items() for row in shape(each, f"{path}.{key}")] or [
            f"{path} {{}}"
        ]
    if isinstance(value, list):
        return shape(value[0], f"{path}[]") if value else [f"{path} []"]
    # JSON has one type for numbers.
    kind = "number" if isinstance(value, (int, float)) and value is not True else type(value)
    return [f"{path} {kind}"]


class Pair:
    """(reference, ours): containers come in twos, and all that is asked is asked of both."""

    __slots__ = ("both",)

    def __init__(self, reference, ours):
        self.both = (reference, ours)

    def create(self, bundle, *options, code=0):
        """The two ids; with code=1 the two Results, for what both have to refuse."""
        made = []
        for runtime in self.both:
            # Named alike, or paths in messages and records would differ.
            bundle.linux["cgroupsPath"] = f"/{runtime.prefix}{len(runtime.names())}"
            made.append(runtime.create(bundle, *options, code=code))
        return made

    def up(self, bundle, *options):
        """create and start."""
        names = self.create(bundle, *options)
        self("start", names)
        return names

    def __call__(self, verb, names, *args, **options):
        """One verb for both containers; `...` in args stands for the id, which else comes last."""
        args = args if ... in args else (*args, ...)
        return [
            runtime(verb, *(name if arg is ... else arg for arg in args), **options)
            for runtime, name in zip(self.both, names, strict=True)
        ]

    def paths(self, names):
        """Their cgroups, by controller."""
        return [
            runtime.record(name)["cgroup_paths"]
            for runtime, name in zip(self.both, names, strict=True)
        ]

    def differences(self, names):
        """What differs in the files of their cgroups, as (reference, ours)."""
        return differences(*(settings(paths) for paths in self.paths(names)))
