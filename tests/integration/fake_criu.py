"""fake_criu.py DIR swrk FD: speaks CRIU's protocol, and does what DIR/script.json says.

version   [major, minor, sublevel] that it claims to be
log       what dump.log or restore.log gets
notify    scripts it tells of, one after the other
fail      then: an unsuccessful response with that errno
hang_up   then: no response
garbage   then: that instead of one
status    its exit status
The request is left in DIR/asked.json, with directories for its descriptors.
"""

import json
import os
import socket
import sys

from google.protobuf import json_format

from pyrunc.criu_messages import TYPES, Request, Response


def directory(fd):
    return os.readlink(f"/proc/{os.getppid()}/fd/{fd}")


def main():
    folder, mode, fd = sys.argv[1:]
    assert mode == "swrk"
    with open(f"{folder}/script.json") as file:
        script = json.load(file)
    link = socket.socket(fileno=int(fd))
    request = Request.FromString(link.recv(65536))
    answer = Response(type=request.type, success=True)
    if request.type == TYPES["VERSION"]:
        major, minor, sublevel = script["version"]
        answer.version.major_number, answer.version.minor_number = major, minor
        answer.version.sublevel = sublevel
        link.send(answer.SerializeToString())
        return 0
    if request.type == TYPES["FEATURE_CHECK"]:
        answer.features.mem_track = False
        link.send(answer.SerializeToString())
        return 0
    images = directory(request.opts.images_dir_fd)
    work = directory(request.opts.work_dir_fd) if request.opts.HasField("work_dir_fd") else images
    asked = json_format.MessageToDict(request, preserving_proto_field_name=True)
    asked["opts"] |= {"images_dir": images, "work_dir": work}
    with open(f"{folder}/asked.json", "w") as file:
        json.dump(asked, file)
    with open(f"{work}/{request.opts.log_file}", "w") as file:
        file.write(script.get("log", ""))
    for name in script.get("notify", []):
        note = Response(type=TYPES["NOTIFY"], success=True)
        note.notify.script = name
        link.send(note.SerializeToString())
        reply = Request.FromString(link.recv(65536))
        if not reply.notify_success:
            script["fail"] = 0
            break
    if script.get("hang_up"):
        return 0
    if "garbage" in script:
        link.send(script["garbage"].encode())
        return 0
    if "fail" in script:
        answer.success, answer.cr_errno = False, script["fail"]
    link.send(answer.SerializeToString())
    return script.get("status", 1 if "fail" in script else 0)


sys.exit(main())
