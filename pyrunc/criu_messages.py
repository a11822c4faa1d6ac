"""The messages of CRIU's RPC, as protocol buffers.  Pure; loaded by checkpoint and restore only.

The rows are those of CRIU's interface (https://criu.org/RPC, rpc.proto) that we use.  They become
classes when this is imported: there is nothing to generate, and nothing that could not match the
installed library.  What CRIU sends beyond them is skipped, as protocol buffers want it.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PACKAGE = "pyrunc.criu"

ENUMS = {
    "criu_cg_mode": "IGNORE CG_NONE PROPS SOFT FULL STRICT DEFAULT".split(),
    "criu_req_type": (
        "EMPTY DUMP RESTORE CHECK PRE_DUMP PAGE_SERVER NOTIFY CPUINFO_DUMP CPUINFO_CHECK "
        "FEATURE_CHECK VERSION WAIT_PID PAGE_SERVER_CHLD SINGLE_PRE_DUMP"
    ).split(),
}

# One field a line: its number, label, type and name.
MESSAGES = {
    "criu_page_server_info": """
        1 optional string address
        2 optional int32 port
    """,
    "ext_mount_map": """
        1 required string key
        2 required string val
    """,
    "join_namespace": """
        1 required string ns
        2 required string ns_file
    """,
    "inherit_fd": """
        1 required string key
        2 required int32 fd
    """,
    "cgroup_root": """
        1 optional string ctrl
        2 required string path
    """,
    "criu_opts": """
        1 required int32 images_dir_fd
        2 optional int32 pid
        3 optional bool leave_running
        4 optional bool ext_unix_sk
        5 optional bool tcp_established
        6 optional bool evasive_devices
        7 optional bool shell_job
        8 optional bool file_locks
        9 optional int32 log_level
        10 optional string log_file
        11 optional criu_page_server_info ps
        12 optional bool notify_scripts
        13 optional string root
        14 optional string parent_img
        15 optional bool track_mem
        16 optional bool auto_dedup
        17 optional int32 work_dir_fd
        18 optional bool link_remap
        23 repeated ext_mount_map ext_mnt
        24 optional bool manage_cgroups
        25 repeated cgroup_root cg_root
        26 optional bool rst_sibling
        27 repeated inherit_fd inherit_fd
        34 optional criu_cg_mode manage_cgroups_mode
        37 repeated string external
        38 optional uint32 empty_ns
        39 repeated join_namespace join_ns
        44 optional string freeze_cgroup
        46 optional bool tcp_skip_in_flight
        48 optional bool lazy_pages
        49 optional int32 status_fd
        50 optional bool orphan_pts_master
        51 optional string config_file
        53 optional string lsm_profile
        64 optional string lsm_mount_context
    """,
    "criu_restore_resp": "1 required int32 pid",
    "criu_notify": """
        1 optional string script
        2 optional int32 pid
    """,
    "criu_features": """
        1 optional bool mem_track
        2 optional bool lazy_pages
    """,
    "criu_version": """
        1 required int32 major_number
        2 required int32 minor_number
        3 optional string gitid
        4 optional int32 sublevel
    """,
    "criu_req": """
        1 required criu_req_type type
        2 optional criu_opts opts
        3 optional bool notify_success
        5 optional criu_features features
    """,
    "criu_resp": """
        1 required criu_req_type type
        2 required bool success
        4 optional criu_restore_resp restore
        5 optional criu_notify notify
        7 optional int32 cr_errno
        8 optional criu_features features
        9 optional string cr_errmsg
        10 optional criu_version version
    """,
}


def _classes() -> "dict[str, Any]":
    """name -> class, out of the tables above."""
    file = descriptor_pb2.FileDescriptorProto(name="pyrunc/criu", package=PACKAGE, syntax="proto2")
    for name, values in ENUMS.items():
        enum = file.enum_type.add(name=name)
        for at, value in enumerate(values):
            enum.value.add(name=value, number=at)
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, rows in MESSAGES.items():
        message = file.message_type.add(name=name)
        for row in rows.strip().splitlines():
            number, label, kind, field = row.split()
            entry = message.field.add(name=field, number=int(number))
            entry.label = getattr(kinds, f"LABEL_{label.upper()}")
            if kind in MESSAGES or kind in ENUMS:
                entry.type = kinds.TYPE_MESSAGE if kind in MESSAGES else kinds.TYPE_ENUM
                entry.type_name = f".{PACKAGE}.{kind}"
            else:
                entry.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = (pool.FindMessageTypeByName(f"{PACKAGE}.{name}") for name in MESSAGES)
    return {kind.name: message_factory.GetMessageClass(kind) for kind in found}


_CLASSES = _classes()
Request: "Any" = _CLASSES["criu_req"]
Response: "Any" = _CLASSES["criu_resp"]
TYPES = {name: number for number, name in enumerate(ENUMS["criu_req_type"])}


def type_name(number: int) -> str:
    """`DUMP`, or the number of what we have no name for."""
    names = ENUMS["criu_req_type"]
    return names[number] if 0 <= number < len(names) else str(number)
