#!/usr/bin/python3
"""Puts pyrunc onto a Kubernetes node with containerd, from a pod; docs/kubernetes.md tells how.

    install.py run        install; wait for SIGTERM; remove, if the DaemonSet is being deleted
    install.py install    copy the release of TREE, and tell containerd of the handler `pyrunc`
    install.py remove     the opposite; the files stay while containers need them
    install.py check      is it there, does it run, does containerd know of it?

The node's directories are mounted at their own paths.  Each step can be repeated, and a step that
is interrupted leaves what was there before: trees and files arrive by rename, and a configuration
with which containerd does not start is put back.
"""

import fnmatch
import glob
import json
import os
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request

TREE = os.environ.get("TREE", "/tree")  # in the image: tree.sh made it
OPT = "/opt/pyrunc"
COMMAND = f"{OPT}/bin/pyrunc"
OWED = f"{OPT}/bin/.restart"  # containerd may not have read its configuration yet
CONFIG = os.environ.get("CONTAINERD_CONFIG", "/etc/containerd/config.toml")
DROP_IN = f"{os.path.dirname(CONFIG)}/conf.d/pyrunc.toml"
RESTART = os.environ.get("CONTAINERD_RESTART", "systemctl restart containerd")
CONTAINERS = "/run/containerd/pyrunc"
SYSTEMD = os.environ.get("SYSTEMD_CGROUP", "auto")
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
SIGNALS = {signal.SIGTERM, signal.SIGINT}

BEGIN, END = "# pyrunc: begin\n", "# pyrunc: end\n"
PLUGINS = {2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"}
HANDLER = """[plugins."{plugin}".containerd.runtimes.pyrunc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."{plugin}".containerd.runtimes.pyrunc.options]
    BinaryName = "{command}"
    Root = "{containers}"
    SystemdCgroup = {systemd}
"""

# Of a version 2 containerd forgets its own runc once another runtime is named.
DEFAULT = """[plugins."{plugin}".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"""


def say(text):
    print(text, file=sys.stderr, flush=True)


def read(path):
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:
        return None


# --- the configuration of containerd: text to text ---


def without(text):
    """A configuration without our part."""
    head, found, rest = text.partition(BEGIN)
    if not found:
        return text
    _, found, tail = rest.partition(END)
    if not found:
        raise ValueError(f"{CONFIG} has lost the line {END.strip()!r}")
    return head + tail


def runtimes(config):
    """{handler: its table} of a configuration."""
    plugin = config.get("plugins", {}).get(PLUGINS[config["version"]], {})
    return plugin.get("containerd", {}).get("runtimes", {})


def wanted(text, drop_in=DROP_IN, systemd=SYSTEMD):
    """{path: content} of the files that tell containerd of us, and None for one that must not be.

    text: that of config.toml, or None.
    """
    base = "version = 2\n" if text is None else without(text)
    config = tomllib.loads(base)
    version = config.setdefault("version", 1)
    if version not in PLUGINS:
        raise ValueError(f"{CONFIG} is of version {version}, not 2 or 3")
    known = runtimes(config)
    if "pyrunc" in known:  # the administrator's own
        return {CONFIG: base, drop_in: None}
    if systemd == "auto":  # as the other containers of this node
        options = known.get("runc", {}).get("options", {})
        systemd = str(options.get("SystemdCgroup", False)).lower()
    block = HANDLER.format(
        plugin=PLUGINS[version], command=COMMAND, containers=CONTAINERS, systemd=systemd
    )
    if version == 2 and "runc" not in known:
        block = DEFAULT.format(plugin=PLUGINS[version]) + block
    # Before version 3 an imported file replaces the tables of a plugin instead of adding to them.
    imports = config.get("imports", []) if version == 3 else []
    if any(fnmatch.fnmatch(drop_in, pattern) for pattern in imports):
        return {CONFIG: base, drop_in: f"version = 3\n{block}"}
    merged = base + ("" if base.endswith("\n") else "\n") + BEGIN + block + END
    tomllib.loads(merged)  # a table that is written inline cannot be added to
    return {CONFIG: merged, drop_in: None}


def unwanted(text, drop_in=DROP_IN):
    """The same without us."""
    return {CONFIG: text and without(text), drop_in: None}


# --- files ---


def put(path, content):
    """Give a file this content by rename, or remove it."""
    if content is None:
        if os.path.lexists(path):
            os.unlink(path)
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    path = os.path.realpath(path)
    temp = f"{path}.pyrunc"
    with open(temp, "w") as file:
        if os.path.exists(path):
            os.chmod(temp, os.stat(path).st_mode & 0o777)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temp, path)


def configure(files):
    """Give containerd these files; restart it if that changed one, and undo what it refuses."""
    before = {path: read(path) for path in files}
    if before == files and not os.path.exists(OWED):
        return
    if restart(files):
        say("containerd has read its new configuration")
        return
    # An interrupted attempt may have left the files that are refused.
    restart(unwanted(before[CONFIG]) if before == files else before)
    raise ValueError("containerd does not start with the handler: its configuration is as it was")


def restart(files):
    """Whether containerd starts with these files."""
    put(OWED, "")
    for path, content in files.items():
        put(path, content)
    if subprocess.run(shlex.split(RESTART), check=False).returncode:
        return False
    put(OWED, None)
    return True


def discard(path):
    """Remove a file, a link or a whole tree."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def release():
    (name,) = os.listdir(TREE)
    return name


def install():
    name = release()
    there = f"{OPT}/{name}"
    os.makedirs(f"{OPT}/bin", exist_ok=True)
    if not os.path.exists(there):
        new = f"{OPT}/.new"
        shutil.rmtree(new, ignore_errors=True)
        # Without the labels that files of an image have under SELinux.
        subprocess.run(["cp", "-R", f"{TREE}/{name}", new], check=True)
        os.sync()
        os.rename(new, there)
    link = f"../{name}/bin/pyrunc"
    old = os.readlink(COMMAND) if os.path.islink(COMMAND) else None
    if old != link:
        temp = f"{COMMAND}.new"
        if os.path.lexists(temp):
            os.unlink(temp)
        os.symlink(link, temp)
        os.rename(temp, COMMAND)
        # A command that runs still loads from the release before this one.
        kept = {"bin", name, *(old or "").split("/")}
        for other in set(os.listdir(OPT)) - kept:
            discard(f"{OPT}/{other}")
        say(f"{COMMAND} is {name}")
    configure(wanted(read(CONFIG)))


def remove():
    configure(unwanted(read(CONFIG)))
    left = glob.glob(f"{CONTAINERS}/*/*")
    if left:
        say(f"{OPT} stays: {len(left)} containers need it")
        return
    for name in os.listdir(OPT):
        discard(f"{OPT}/{name}")
    say("removed")


def check():
    """Raises unless all of it is there, and runs."""
    link = os.readlink(COMMAND)
    if link.split("/")[1] != release():
        raise ValueError(f"{COMMAND} is {link}")
    subprocess.run([COMMAND, "--version"], check=True, stdout=subprocess.DEVNULL)
    if any(read(path) != content for path, content in wanted(read(CONFIG)).items()):
        raise ValueError("containerd's configuration has changed")


# --- the pod ---


def deleted():
    """Is our DaemonSet gone, or going?  Not on an update, a drain or a reboot."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    path = f"/apis/apps/v1/namespaces/{read(f'{ACCOUNT}/namespace')}/daemonsets/pyrunc"
    bearer = {"Authorization": f"Bearer {read(f'{ACCOUNT}/token')}"}
    request = urllib.request.Request(f"https://{host}:{port}{path}", headers=bearer)
    try:
        context = ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt")
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return "deletionTimestamp" in json.load(answer)["metadata"]
    except urllib.error.HTTPError as err:
        return err.code == 404
    except OSError as err:
        say(f"the API server does not answer: {err}")
        return False


def run():
    # Process 1 of a pod does not get what it does not wait for.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    install()
    say("installed")
    signal.sigwait(SIGNALS)
    if deleted():
        remove()


def main():
    verbs = {"run": run, "install": install, "remove": remove, "check": check}
    try:
        verbs[sys.argv[1]]()
    except (OSError, ValueError, subprocess.CalledProcessError) as err:
        sys.exit(f"install.py: {err}")


if __name__ == "__main__":
    main()
