"""linux.intelRdt: the container's group in resctrl, its share of caches and of memory bandwidth.

May touch: the container's group directories below the mounted resctrl; reads the rest of it.
OCI runtime-spec 1.3, config-linux.md "Intel RDT"; Documentation/filesystems/resctrl of the kernel.

A group is a directory.  One that closID names belongs to the administrator, and stays.  One that is
named like the container is removed with it, and so is its monitoring group.  The record lists the
groups that we made (`pyrunc.rdt`), so that nothing is removed that was there before.
"""

import os

from pyrunc import files
from pyrunc.errors import Error, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Doc = dict[str, Any]

# Member of the spec -> (directory in info, what the kernel calls it, and whose schema it is)
SCHEMAS = {
    "l3CacheSchema": ("L3", "Intel RDT/CAT", "l3 cache"),
    "memBwSchema": ("MB", "Intel RDT/MBA", "memory bandwidth"),
}


def root() -> str:
    """Where resctrl is mounted; empty if it is not."""
    for row in os.fsdecode(files.read("/proc/self/mountinfo")).splitlines():
        fields = row.split(" ")
        if fields[fields.index("-") + 1] == "resctrl" and fields[3] == "/":
            from pyrunc.cgroups.hierarchies import unescape

            return unescape(fields[4])
    return ""


# --- a container's group ---


def prepare(record: "Doc", wanted: "Doc") -> None:
    """Check linux.intelRdt (wanted), and put into the record what create() is going to make."""
    top = root()
    if not top:
        raise Error("intelRdt is specified in config, but Intel RDT is not enabled")
    name = wanted.get("closID", "")
    if name in (".", "..") or "/" in name and name != "/" or "\n" in name or "\0" in name:
        raise Error(f'invalid intelRdt.ClosID "{name}"')
    for member, (resource, what, _) in SCHEMAS.items():
        if wanted.get(member) and not os.path.isdir(f"{top}/info/{resource}"):
            raise Error(f"intelRdt.{member} is specified in config, but {what} is not enabled")
    if wanted.get("memBwSchema") and not wanted["memBwSchema"].startswith("MB:"):
        raise Error('intelRdt.memBwSchema does not start with "MB:"')
    for line in (wanted.get("memBwSchema", ""), *(wanted.get("schemata") or [])):
        if "\n" in line:
            raise Error(f"a line of intelRdt's schemata has a newline: {line!r}")
    group = top if name == "/" else f"{top}/{name or record['id']}"
    exists = os.path.isdir(group)
    if name and not exists and not lines(wanted):
        raise Error(
            f'intelRdt.closID "{name}" is specified in config without a schema, '
            f"but there is no directory {group}"
        )
    if name and exists:
        compare(top, group, wanted)
    mine = [] if name or exists else [group]
    record["intel_rdt_path"] = group
    if wanted.get("enableMonitoring"):
        record["intel_rdt_mon_path"] = f"{group}/mon_groups/{record['id']}"
        mine.insert(0, record["intel_rdt_mon_path"])
    # Not `simple`, because the front does not know how to delete such a container.
    record["pyrunc"].update(rdt=mine, simple=False)


def create(record: "Doc", wanted: "Doc") -> None:
    """Make the groups, and set the limits of the container's."""
    group, monitor = record["intel_rdt_path"], record.get("intel_rdt_mon_path", "")
    if not os.path.isdir(group):
        _make(record, group)
    if lines(wanted):
        write(group, "schemata", "".join(line + "\n" for line in lines(wanted)))
    if monitor:
        _make(record, monitor)


def join(record: "Doc", pid: int) -> None:
    """Put a process that has one thread into the groups; its future children follow it."""
    write(record["intel_rdt_path"], "tasks", str(pid))
    if record.get("intel_rdt_mon_path"):
        write(record["intel_rdt_mon_path"], "tasks", str(pid))


def remove(record: "Doc") -> None:
    """Remove the groups that create() made."""
    for path in record["pyrunc"].get("rdt") or ():
        try:
            os.rmdir(path)
        except FileNotFoundError:
            pass
        except OSError as err:
            raise Error(
                f"unable to remove Intel RDT group: {Error.os('rmdir', path, err)}"
            ) from err


def _make(record: "Doc", path: str) -> None:
    try:
        os.mkdir(path, 0o755)
    except OSError as err:
        if path in record["pyrunc"]["rdt"]:
            record["pyrunc"]["rdt"].remove(path)  # not made by us: not for us to remove
        raise _error("mkdir", path, err) from err


# --- schemata ---


def lines(wanted: "Doc") -> "list[str]":
    """What goes into `schemata`, in the order the spec wants."""
    both = [wanted.get(member, "") for member in SCHEMAS]
    return [line for line in both if line] + list(wanted.get("schemata") or [])


def compare(top: str, group: str, wanted: "Doc") -> None:
    """Refuse a class that exists with other limits than the container is to have."""
    try:
        present = files.read_text(f"{group}/schemata").splitlines()
    except OSError as err:
        raise Error.os("open", f"{group}/schemata", err) from err
    has = dict(parse(line, 1) for line in present)
    for member, (resource, _, _) in SCHEMAS.items():
        grain = _number(f"{top}/info/{resource}/bandwidth_gran") or 1
        for line in wanted.get(member, "").splitlines():
            name, shares = parse(line, grain)
            if not shares.items() <= has.get(name, {}).items():
                raise Error(
                    f'intelRdt.{member} "{wanted[member]}" does not match the schemata of '
                    f"{group}: {', '.join(line.strip() for line in present)}"
                )


def parse(line: str, grain: int) -> "tuple[str, dict[str, object]]":
    """`L3:0=f;1=7` as ("L3", {"0": 15, "1": 7}); bandwidth rounded up as the kernel does it."""
    name, _, rest = line.partition(":")
    shares: "dict[str, object]" = {}
    for item in filter(None, rest.split(";")):
        domain, _, value = (part.strip() for part in item.partition("="))
        try:
            if name.strip() == "MB":
                shares[domain] = -(-int(value) // grain) * grain
            else:
                shares[domain] = int(value, 16)
        except ValueError:  # a syntax that we do not know: compare it as text
            shares[domain] = value
    return name.strip(), shares


def write(group: str, name: str, data: str) -> None:
    """Write one of a group's files.  The Error has what the kernel says besides the errno."""
    path = f"{group}/{name}"
    try:
        files.write(path, data)
    except OSError as err:
        raise _error("write", path, err, data) from err


def _error(verb: str, path: str, err: OSError, data: str = "") -> Error:
    text = f"{verb} {path}: {reason(err)}"
    if data and verb == "write" and path.endswith("schemata"):
        text = f"{verb} {path} {data.strip()!r}: {reason(err)}"
    try:
        status = files.read_text(f"{root()}/info/last_cmd_status")
    except OSError:
        status = ""
    if status and status != "ok":
        text += f", last_cmd_status: {status}"
    return Error(f"unable to apply Intel RDT configuration: {text}")


# --- update ---


def check_update(record: "Doc", schemas: "Doc") -> None:
    """Refuse schemas (members of linux.intelRdt) that cannot be set.  Touches nothing."""
    top = root()
    for member, (resource, what, whose) in SCHEMAS.items():
        if schemas.get(member) and not (top and os.path.isdir(f"{top}/info/{resource}")):
            raise Error(f"{what}: {whose} schema is not enabled")
    if not record.get("intel_rdt_path"):
        raise Error("updating a non-existent Intel RDT configuration is not supported")


def update(record: "Doc", schemas: "Doc") -> str:
    """Set schemas, and put them into the record.  Returns what restore() needs to undo that."""
    group = record["intel_rdt_path"]
    try:
        before = os.fsdecode(files.read(f"{group}/schemata"))
    except OSError as err:
        raise Error.os("open", f"{group}/schemata", err) from err
    try:
        write(group, "schemata", "".join(line + "\n" for line in lines(schemas)))
    except Error:
        restore(record, before)  # the lines before the refused one count
        raise
    record["config"].setdefault("intel_rdt", {}).update(schemas)
    return before


def restore(record: "Doc", before: str) -> None:
    """Set all limits as they were."""
    write(record["intel_rdt_path"], "schemata", before)


# --- events ---


def stats(record: "Doc") -> "Doc":
    """`intel_rdt` of a stats event."""
    top, group = root(), record["intel_rdt_path"]
    found: "Doc" = {}
    info = f"{top}/info/L3"
    if os.path.isdir(info):
        found["l3_cache_info"] = _present(
            cbm_mask=_text(f"{info}/cbm_mask"),
            min_cbm_bits=_number(f"{info}/min_cbm_bits"),
            num_closids=_number(f"{info}/num_closids"),
        )
        found["l3_cache_schema_root"] = _schema(top, "L3")
        found["l3_cache_schema"] = _schema(group, "L3")
    info = f"{top}/info/MB"
    if os.path.isdir(info):
        names = ("bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids")
        found["mem_bw_info"] = _present(**{name: _number(f"{info}/{name}") for name in names})
        found["mem_bw_schema_root"] = _schema(top, "MB")
        found["mem_bw_schema"] = _schema(group, "MB")
    found["schemata"] = _text(f"{group}/schemata").splitlines()
    found["schemata"] = [line.strip() for line in found["schemata"]]
    mbm, cmt = [], []
    data = f"{record.get('intel_rdt_mon_path') or group}/mon_data"
    for node in sorted(os.listdir(data)) if os.path.isdir(data) else ():
        if not node.startswith("mon_L3_"):
            continue
        traffic = [f"mbm_{kind}_bytes" for kind in ("total", "local")]
        if any(os.path.exists(f"{data}/{node}/{name}") for name in traffic):
            mbm.append(_present(**{name: _number(f"{data}/{node}/{name}") for name in traffic}))
        if os.path.exists(f"{data}/{node}/llc_occupancy"):
            cmt.append(_present(llc_occupancy=_number(f"{data}/{node}/llc_occupancy")))
    return _present(**found, mbm_stats=mbm, cmt_stats=cmt)


def _schema(group: str, resource: str) -> str:
    """The line of a group's schemata that is about L3 or MB."""
    for line in _text(f"{group}/schemata").splitlines():
        if line.strip().startswith(f"{resource}:"):
            return line.strip()
    return ""


def _text(path: str) -> str:
    try:
        return files.read_text(path)
    except OSError:
        return ""


def _number(path: str) -> int:
    text = _text(path)  # or `Unavailable`
    return int(text) if text.isdecimal() else 0


def _present(**values: "Any") -> "Doc":
    return {name: value for name, value in values.items() if value}
