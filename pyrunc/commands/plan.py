"""`plan`: print what `create` would have init do, without doing it."""

import os

from pyrunc.commands import BUNDLE, CONFIG, NO_NEW_KEYRING, NO_PIVOT, Command, Option
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Stands for the id of a container that is not made.
ID = "ID"

COMMAND = Command(
    "plan",
    "print the steps that would create the container, and do nothing",
    args="",
    nargs=(0, 0),
    options=(
        BUNDLE,
        CONFIG,
        Option(
            "format",
            kind="str",
            default="text",
            metavar="FORMAT",
            help='"text" (one line per step) or "json"',
        ),
        NO_PIVOT,
        NO_NEW_KEYRING,
    ),
)


def run(opts: "dict[str, Any]") -> None:
    """Print the plan for the bundle's container, with this host's facts."""
    from pyrunc import (
        attributes,
        cgroups,
        listing,
        log,
        mounts,
        namespaces,
        passed,
        plan_create,
        spec,
    )

    if opts["format"] not in ("text", "json"):
        raise Error("invalid format option")
    config = attributes.absolute(opts["config"]) if opts["config"] else spec.FILE
    bundle = spec.enter(opts["bundle"])
    doc = spec.load(config)
    linux = doc.get("linux") or {}
    driver = cgroups.new(doc, ID, cgroups.mode(), opts)
    facts = passed.facts(doc, driver.paths, opts["no_pivot"])
    spec.validate(doc, facts, opts["no_pivot"])
    # The descriptors that create would pass, by number: none is opened here.
    fds: "dict[Any, Any]" = {"fifo": 0}
    groups = [] if driver.placed else list(driver.paths)
    fds["tasks"] = [number for number, name in enumerate(groups, 1) if name]
    fds["cgroups"] = [number for number, name in enumerate(groups, 1) if not name]
    keys: "list[Any]" = ["console"] if doc["process"].get("terminal") else []
    keys += [("ns", kind) for kind, path in namespaces.listed(linux).items() if path]
    keys += [("idmap", number) for number, _ in mounts.idmapped(doc)]
    fds.update({key: number for number, key in enumerate(keys, 1 + len(groups))})
    made = plan_create.for_create(
        doc,
        facts,
        {
            "id": ID,
            "bundle": bundle,
            "rootfs": spec.rootfs(doc, bundle),
            "no_pivot": opts["no_pivot"],
            "no_new_keyring": opts["no_new_keyring"],
            "fds": fds,
            "placed": driver.placed,
            "seccomp": passed.seccomp(linux),
            "rootless": os.geteuid() != 0,
            "host_limits": "user" in namespaces.listed(linux),
            "hook_state": hook_state,
        },
    )
    for text in made.warnings:
        log.warning(text)
    if opts["format"] == "json":
        import json

        print(json.dumps(listing.objects(made), indent=2, ensure_ascii=False))
    else:
        print(listing.text(made), end="")


def hook_state(status: str) -> "tuple[str, str]":
    """The state document, around the pid, as far as it is known without a container."""
    return f'{{"id":"{ID}","status":"{status}","pid":', "}"
